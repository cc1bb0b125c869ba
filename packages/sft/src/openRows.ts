/** Finds the files that a path means and how each is read, by its name's ending. */
import { createReadStream } from "node:fs"
import { readdir, readFile, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { UnreadableData } from "./DataError.ts"
import type { RawRow, RowFile } from "./RowFile.ts"
import { readJsonl } from "./readJsonl.ts"

type Reader = (path: string, file: string) => AsyncIterable<ReadonlyArray<RawRow>>

const readers: Readonly<Record<string, Reader>> = {
  jsonl: (path, file) => readJsonl(bytesOf(path, file), file),
  ndjson: (path, file) => readJsonl(bytesOf(path, file), file),
  txt: readText
}

/** A file; or a folder: the files in it that can be read, by name. Errors are UnreadableData. */
export const openRows = async (path: string): Promise<ReadonlyArray<RowFile>> => {
  let folder: boolean
  try {
    folder = (await stat(path)).isDirectory()
  } catch (error) {
    throw unreadable(path, error)
  }
  if (!folder) return [rowFile(path, basename(path))]
  const names = (await readdir(path)).filter((name) => endingOf(name) in readers).sort()
  if (names.length === 0)
    throw new UnreadableData({ file: path, problem: `the folder holds no file that ends in ${endings}` })
  return names.map((name) => rowFile(join(path, name), name))
}

const rowFile = (path: string, file: string): RowFile => {
  const reader = readers[endingOf(path)]
  if (reader === undefined) {
    throw new UnreadableData({
      file: path,
      problem: `got a name that ends in .${endingOf(path)}; wanted ${endings}. Rename it to what it holds`
    })
  }
  return { file, isText: endingOf(path) === "txt", rows: () => reader(path, file) }
}

const endingOf = (name: string): string => basename(name).split(".").slice(1).at(-1)?.toLowerCase() ?? ""
const endings = Object.keys(readers)
  .map((ending) => `.${ending}`)
  .join(", ")

async function* bytesOf(path: string, file: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* createReadStream(path, { highWaterMark: 64 * 1024 }) as AsyncIterable<Uint8Array> // no encoding is set: it yields bytes
  } catch (error) {
    throw unreadable(file, error)
  }
}

/** A text file is one document. */
async function* readText(path: string, file: string): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw unreadable(file, error)
  }
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw new UnreadableData({ file, problem: "the bytes are not UTF-8; save the file as UTF-8" })
  }
  yield [{ place: { file, unit: "row", number: 1 }, value: { text } }]
}

const unreadable = (file: string, error: unknown): UnreadableData => {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined
  const known: Readonly<Record<string, string>> = {
    ENOENT: "there is no such file or folder; check the path",
    EACCES: "no permission to read it",
    EISDIR: "it is a folder; wanted a file"
  }
  const reason = error instanceof Error ? error.message : String(error)
  return new UnreadableData({ file, problem: typeof code === "string" ? (known[code] ?? reason) : reason })
}
