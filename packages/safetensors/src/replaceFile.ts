/**
 * Writes a file so that its name never stands for half of it: a temporary name beside it, sync, rename, sync of the
 * directory. On failure or interruption the temporary file goes and what stood there before stays.
 */
import { randomBytes } from "node:crypto"
import { type FileHandle, open, rename, unlink } from "node:fs/promises"
import { dirname } from "node:path"
import { Effect, Exit } from "effect"
import { FileError, fileError } from "./FileError.ts"

export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** What was not an error of the file system but of whoever produced the bytes passes through unchanged. */
class ProducerFailed {
  readonly cause: unknown
  constructor(cause: unknown) {
    this.cause = cause
  }
}

const writeAll = async (file: FileHandle, chunks: Chunks, signal: AbortSignal): Promise<void> => {
  const iterator = Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]()
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>
      try {
        next = await iterator.next()
      } catch (cause) {
        throw new ProducerFailed(cause)
      }
      if (next.done === true || signal.aborted) return
      let rest = next.value
      while (rest.byteLength > 0)
        rest = rest.subarray((await file.write(rest, 0, Math.min(rest.byteLength, 1 << 30))).bytesWritten)
    }
  } finally {
    await iterator.return?.()
  }
}

const syncDirectory = async (path: string): Promise<void> => {
  let directory: FileHandle
  try {
    directory = await open(path, "r")
  } catch {
    return // Windows opens no directory; the rename is then as durable as the system makes it
  }
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Puts `chunks` one after the other into the file `path`. A FileError thrown by a chunk fails, any other error dies. */
export const replaceFile = (path: string, chunks: Chunks): Effect.Effect<void, FileError> => {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.part`
  const step = (act: (signal: AbortSignal) => Promise<void>): Effect.Effect<void, FileError> =>
    Effect.flatMap(
      Effect.promise((signal) => act(signal).then(() => Effect.void, failure)),
      (outcome) => outcome
    )
  const failure = (cause: unknown): Effect.Effect<void, FileError> =>
    cause instanceof ProducerFailed && !(cause.cause instanceof FileError)
      ? Effect.die(cause.cause)
      : Effect.fail(fileError(path, "write", cause instanceof ProducerFailed ? cause.cause : cause))
  return Effect.acquireUseRelease(
    Effect.tryPromise({ try: () => open(temporary, "wx"), catch: (cause) => fileError(path, "write", cause) }),
    (file) =>
      step(async (signal) => {
        await writeAll(file, chunks, signal)
        if (!signal.aborted) await file.sync()
      }),
    (file, exit) =>
      step(async () => {
        try {
          await file.close()
          if (Exit.isSuccess(exit)) await rename(temporary, path)
        } catch (cause) {
          await unlink(temporary).catch(() => undefined)
          throw cause
        }
        if (Exit.isSuccess(exit)) await syncDirectory(dirname(path))
        else await unlink(temporary).catch(() => undefined)
      })
  )
}
