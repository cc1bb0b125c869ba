/** Finds the files that a path or the name of a data set means, and how each is read: by the ending of its name. */
import { createReadStream } from "node:fs"
import { readdir, readFile, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { stdin } from "node:process"
import { isDataError, UnreadableData } from "./DataError.ts"
import { expandGlob, isGlob } from "./expandGlob.ts"
import { hubFiles, hubSource } from "./hubSource.ts"
import type { RawRow, RowFile } from "./RowFile.ts"
import { readJson } from "./readJson.ts"
import { readJsonl } from "./readJsonl.ts"
import { type LineBlock, lineBlocks } from "./readLines.ts"
import { readParquet } from "./readParquet.ts"
import { readTable } from "./readTable.ts"
import { readTensorRows } from "./readTensorRows.ts"

/** `name` is what messages call the file. */
type Reader = (path: string, name: string) => AsyncIterable<ReadonlyArray<RawRow>>

const readers: Readonly<Record<string, Reader>> = {
  jsonl: (path, name) => readJsonl(bytesOf(path), name),
  ndjson: (path, name) => readJsonl(bytesOf(path), name),
  json: (path, name) => readJson(bytesOf(path), name),
  csv: (path, name) => readTable(bytesOf(path), name, ","),
  tsv: (path, name) => readTable(bytesOf(path), name, "\t"),
  parquet: readParquet,
  safetensors: readTensorRows,
  txt: readText
}
export const dataEndings = Object.keys(readers).map((ending) => `.${ending}`)

/** What `-` stands for: JSON Lines from whoever pipes them in. */
const standardInput: RowFile = {
  file: "standard input",
  isText: false,
  rows: () => guarded("standard input", readJsonl(stdin, "standard input")),
  blocks: () => guarded("standard input", lineBlocks(stdin, "standard input"))
}

/**
 * A file, a folder (the files in it that can be read, by name), a pattern, `-`, or a data set of the Hub where there is no such
 * file. Errors are UnreadableData.
 */
export const openRows = async (path: string, signal?: AbortSignal): Promise<ReadonlyArray<RowFile>> => {
  if (path === "-") return [standardInput]
  if (path.startsWith("hf://")) return hubRows(path, signal)
  if (isGlob(path)) {
    const found = await expandGlob(path)
    if (found.length === 0)
      throw new UnreadableData({ file: path, problem: "the pattern matches no file; check the path" })
    return found.map((one) => rowFile(one, one))
  }
  try {
    if (!(await stat(path)).isDirectory()) return [rowFile(path, basename(path))]
    const names = (await readdir(path)).filter((name) => endingOf(name) in readers).sort()
    if (names.length === 0) {
      throw new UnreadableData({
        file: path,
        problem: `the folder holds no file that ends in ${dataEndings.join(", ")}`
      })
    }
    return names.map((name) => rowFile(join(path, name), name))
  } catch (error) {
    const absent = error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")
    if (absent && !(endingOf(path) in readers) && hubSource(path) !== undefined) return hubRows(path, signal)
    throw readError(path, error)
  }
}

/** Each file is fetched when it is read. */
const hubRows = async (path: string, signal?: AbortSignal): Promise<ReadonlyArray<RowFile>> => {
  const source = hubSource(path)
  if (source === undefined) {
    throw new UnreadableData({ file: path, problem: "wanted hf://datasets/org/name[:split][@revision]" })
  }
  const files = await hubFiles(source, Object.keys(readers), signal)
  return files.map(({ name, fetch }) => {
    const { isText } = rowFile(name, name)
    async function* rows(): AsyncGenerator<ReadonlyArray<RawRow>, void> {
      yield* rowFile(await fetch(), name).rows()
    }
    async function* blocks(): AsyncGenerator<LineBlock, void> {
      yield* lineBlocks(bytesOf(await fetch()), name)
    }
    return { file: name, isText, rows, ...(isLines(name) ? { blocks: () => guarded(name, blocks()) } : {}) }
  })
}

const rowFile = (path: string, file: string): RowFile => {
  const ending = endingOf(path)
  const reader = Object.hasOwn(readers, ending) ? readers[ending] : undefined
  if (reader === undefined) {
    throw new UnreadableData({
      file: path,
      problem: `got a name that ends in .${ending}; wanted ${dataEndings.join(", ")}. Rename it to what it holds`
    })
  }
  const rows = () => guarded(file, reader(path, file))
  const blocks = () => guarded(file, lineBlocks(bytesOf(path), file))
  return { file, isText: ending === "txt", rows, ...(isLines(path) ? { blocks } : {}) }
}
const isLines = (name: string): boolean => ["jsonl", "ndjson"].includes(endingOf(name))

const endingOf = (name: string): string => basename(name).split(".").slice(1).at(-1)?.toLowerCase() ?? ""

const bytesOf = (path: string): AsyncIterable<Uint8Array> => createReadStream(path, { highWaterMark: 256 * 1024 })

/** A text file is one document. */
async function* readText(path: string, file: string): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  const bytes = await readFile(path)
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw new UnreadableData({ file, problem: "the bytes are not UTF-8; save the file as UTF-8" })
  }
  yield [{ place: { file, unit: "row", number: 1 }, value: { text } }]
}

/** What the system says about a file, as an error about the data. */
async function* guarded<A>(file: string, parts: AsyncIterable<A>): AsyncGenerator<A, void> {
  try {
    yield* parts
  } catch (error) {
    throw readError(file, error)
  }
}

const causes: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or folder; check the path",
  EACCES: "no permission to read it",
  EISDIR: "it is a folder; wanted a file"
}

/** Only an error with a system's code is about the file: anything else stays what it is. */
const readError = (file: string, error: unknown): unknown => {
  if (isDataError(error) || !(error instanceof Error) || !("code" in error)) return error
  return new UnreadableData({ file, problem: causes[String(error.code)] ?? error.message })
}
