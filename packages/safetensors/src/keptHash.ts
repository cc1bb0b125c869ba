/**
 * The SHA-256 of a large file, kept beside it as `FILE.sha256` by whoever wrote it: reading some gigabytes anew to name their
 * content takes longer than to load them. It holds for the file's size and time of change; any other file is not known.
 */
import { createHash } from "node:crypto"
import { readFile, stat } from "node:fs/promises"
import { Effect } from "effect"
import type { FileError } from "./FileError.ts"
import { type Chunks, replaceFile } from "./replaceFile.ts"

const pathOf = (path: string): string => `${path}.sha256`
/** Longer texts are no kept hash. */
const LONGEST = 1024
/** Runtimes round times differently. */
const MILLISECOND = 1

/** In hexadecimal; undefined where none is kept, or the file is another by now. */
export const keptHash = async (path: string): Promise<string | undefined> => {
  try {
    const beside = await stat(pathOf(path))
    if (beside.size > LONGEST) return undefined
    const [file, text] = await Promise.all([stat(path), readFile(pathOf(path), "utf8")])
    const { sha256, bytes, modified }: Readonly<Record<string, unknown>> = JSON.parse(text)
    const isThis =
      bytes === file.size && typeof modified === "number" && Math.abs(modified - file.mtimeMs) <= MILLISECOND
    return isThis && typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) ? sha256 : undefined
  } catch {
    return undefined // none, or no JSON: who asks reads the file
  }
}

/** Writes `path` as `replaceFile` does, and its hash beside it. */
export const replaceFileWithHash = (path: string, chunks: Chunks): Effect.Effect<void, FileError> =>
  Effect.suspend(() => {
    const hash = createHash("sha256")
    const told = async function* () {
      for await (const chunk of chunks) {
        hash.update(chunk)
        yield chunk
      }
    }
    return Effect.flatMap(replaceFile(path, told()), () => keep(path, hash.digest("hex")))
  })
const keep = (path: string, sha256: string): Effect.Effect<void, FileError> =>
  Effect.flatMap(
    Effect.promise(() => stat(path)),
    ({ size, mtimeMs }) =>
      replaceFile(pathOf(path), [
        new TextEncoder().encode(`${JSON.stringify({ sha256, bytes: size, modified: mtimeMs })}\n`)
      ])
  )
