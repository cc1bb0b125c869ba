/**
 * Bytes that are read by position: a file, or memory. Parsers take this instead of a path, so that they can be tried on
 * a hundred thousand damaged headers without a disk, and so that no parser can ask for more than the source holds.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { Effect, type Scope } from "effect"
import { FileError, fileError } from "./FileError.ts"

export interface ByteSource {
  /** A path, for messages. */
  readonly name: string
  /** Set where the bytes lie in a file by this path, at the same offsets. */
  readonly path?: string
  readonly size: number
  /** Exactly the bytes [offset, offset + length), which must lie inside; a view or a copy, not to be written to. */
  readonly read: (offset: number, length: number) => Uint8Array
}

const requireInside = (name: string, size: number, offset: number, length: number): void => {
  if (
    !(
      Number.isSafeInteger(offset) &&
      Number.isSafeInteger(length) &&
      offset >= 0 &&
      length >= 0 &&
      offset + length <= size
    )
  )
    throw new RangeError(
      `read: bytes [${offset}, ${offset + length}) of ${name}, which has ${size}; check a range against the size first`
    )
}

export const memorySource = (name: string, bytes: Uint8Array): ByteSource => {
  const { buffer, byteOffset, byteLength } = bytes
  return {
    name,
    size: byteLength,
    read: (offset, length) => {
      requireInside(name, byteLength, offset, length)
      return new Uint8Array(buffer, byteOffset + offset, length) // a plain one, where `bytes` may be Node's Buffer
    }
  }
}

/** One system call reads at most this much: Linux itself stops short of 2 GiB. */
const LONGEST_READ = 1 << 30

const readFully = (descriptor: number, path: string, target: Uint8Array, offset: number): void => {
  let done = 0
  while (done < target.byteLength) {
    const wanted = Math.min(LONGEST_READ, target.byteLength - done)
    let got: number
    try {
      got = readSync(descriptor, target, done, wanted, offset + done)
    } catch (cause) {
      throw fileError(path, "read", cause)
    }
    if (got === 0)
      throw new FileError({
        message: `${path} ended at byte ${offset + done} while ${target.byteLength - done} more were expected: it was cut short after it was opened. Write it again and start over.`,
        path,
        operation: "read",
        code: "EOF"
      })
    done += got
  }
}

/** A file, open until the scope closes. */
export const openFile = (path: string): Effect.Effect<ByteSource, FileError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.try({
        try: () => {
          const descriptor = openSync(path, "r")
          try {
            const status = fstatSync(descriptor)
            if (!status.isFile())
              throw Object.assign(new Error("not a plain file"), { code: status.isDirectory() ? "EISDIR" : "" })
            return { descriptor, size: status.size, open: true }
          } catch (cause) {
            closeSync(descriptor)
            throw cause
          }
        },
        catch: (cause) => fileError(path, "open", cause)
      }),
      (file) =>
        Effect.sync(() => {
          file.open = false
          closeSync(file.descriptor)
        })
    ),
    (file): ByteSource => ({
      name: path,
      path,
      size: file.size,
      read: (offset, length) => {
        requireInside(path, file.size, offset, length)
        if (!file.open)
          throw new TypeError(`read: ${path} is closed; read its tensors while the scope that opened it lives`)
        const target = new Uint8Array(length)
        readFully(file.descriptor, path, target, offset)
        return target
      }
    })
  )
