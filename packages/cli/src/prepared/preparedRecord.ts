/**
 * `prepared.json` beside a prepared file: of which weights it was made, and how. Weights are known by the size and the time of
 * change of their files, and where these differ by their content.
 */
import { createHash } from "node:crypto"
import { statSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { filesOf, type OpenedModel } from "@graft/llama-loader"
import { type FileError, replaceFile } from "@graft/safetensors"
import { type Effect, Schema } from "effect"

export const RECORD = "prepared.json"
/** Of the file's layout and of how weights are quantised: a file of another version is made anew. */
export const VERSION = 1
/** Runtimes round times differently. */
const MILLISECOND = 1

const Stamp = Schema.Struct({ bytes: Schema.Number, modified: Schema.Number })
const Sha256 = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
const Record = Schema.Struct({
  version: Schema.Int,
  source: Schema.Struct({
    /** For people: where it lay. */
    path: Schema.String,
    /** Of config and samples of the weights. */
    fingerprint: Schema.String,
    /** Of the files of weights, the largest first. */
    files: Schema.Array(Stamp),
    /** SHA-256 of these files, known once it has been read whole. */
    content: Schema.optionalKey(Schema.Array(Sha256))
  }),
  format: Schema.Struct({
    codec: Schema.Literals(["nf4", "fp4"]),
    doubleQuant: Schema.Boolean,
    blockSize: Schema.Int,
    /** Linears that stay as they are. */
    skip: Schema.Array(Schema.String)
  })
})
export type PreparedRecord = typeof Record.Type
export type PreparedFormat = PreparedRecord["format"]
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(Record), { errors: "all", onExcessProperty: "error" })

/** What a file that is prepared now from this model says. */
export const recordOf = (model: OpenedModel, format: PreparedFormat): PreparedRecord => ({
  version: VERSION,
  source: {
    path: resolve(model.path),
    fingerprint: model.fingerprint,
    files: filesOf(model.tensors)
      .map((path) => statSync(path))
      .map(({ size, mtimeMs }) => ({ bytes: size, modified: mtimeMs }))
      .sort((a, b) => b.bytes - a.bytes || b.modified - a.modified)
  },
  format
})

/** Undefined where there is none, a text where it is none that can be read. */
export const readRecord = async (folder: string): Promise<PreparedRecord | string | undefined> => {
  let text: string
  try {
    text = await readFile(join(folder, RECORD), "utf8")
  } catch (cause) {
    const absent = cause instanceof Error && "code" in cause && (cause.code === "ENOENT" || cause.code === "ENOTDIR")
    return absent ? undefined : String(cause)
  }
  try {
    return decode(text)
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause)
  }
}

export const writeRecord = (folder: string, record: PreparedRecord): Effect.Effect<void, FileError> =>
  replaceFile(join(folder, RECORD), [new TextEncoder().encode(`${JSON.stringify(record, null, 2)}\n`)])

/** Models that could share a file have one name: the same weights, as far as samples tell, in the same format. */
export const keyOf = ({ source: { fingerprint }, format, version }: PreparedRecord): string =>
  createHash("sha256")
    .update(JSON.stringify([version, fingerprint, format]))
    .digest("hex")
    .slice(0, 24)

export const sameStamps = (a: PreparedRecord, b: PreparedRecord): boolean =>
  a.source.files.length === b.source.files.length &&
  a.source.files.every((file, i) => {
    const other = b.source.files[i]
    return other?.bytes === file.bytes && Math.abs(other.modified - file.modified) <= MILLISECOND
  })

export const formatText = ({ codec, doubleQuant, blockSize, skip }: PreparedFormat): string =>
  `${codec}${doubleQuant ? " with double quantization" : ""}, blocks of ${blockSize}${skip.length === 0 ? "" : `, without ${skip.join(", ")}`}`
