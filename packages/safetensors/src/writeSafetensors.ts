/**
 * Writes safetensors tensor by tensor: the header is known from names, formats and shapes, so no more than one tensor is
 * in memory. The bytes are those of the reference writer (safetensors/src/tensor.rs, `prepare`): tensors by descending
 * format, then by name; the header padded with spaces to a multiple of 8.
 */
import type { Effect } from "effect"
import type { FileError } from "./FileError.ts"
import { replaceFileWithHash } from "./keptHash.ts"
import { replaceFile } from "./replaceFile.ts"
import { bitsOf, type ComputeDtype, rankOf, type SafetensorsDtype, safetensorsDtypeOf } from "./SafetensorsDtype.ts"

/** A tensor to be written; core's `SourceTensor` is one. */
export interface TensorToWrite {
  readonly name: string
  /** Graft's name of a format or safetensors' own. */
  readonly dtype: ComputeDtype | SafetensorsDtype
  readonly shape: ReadonlyArray<number>
  /** The little-endian bytes, whole or in pieces; asked for once, when its turn comes. */
  readonly read: () => Uint8Array | PromiseLike<Uint8Array> | ReadonlyArray<Uint8Array> | AsyncIterable<Uint8Array>
}

export interface WriteOptions {
  /** `{ format: "pt" }` unless given: Hugging Face's readers refuse a file without it. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Keeps the file's SHA-256 beside it, see keptHash.ts. */
  readonly keepHash?: boolean
}

const encoder = new TextEncoder()

/** As Rust compares strings, by their UTF-8 bytes; JavaScript's order differs beyond the basic plane. */
const compareUtf8 = (a: string, b: string): number => {
  const left = encoder.encode(a)
  const right = encoder.encode(b)
  const shared = Math.min(left.length, right.length)
  for (let i = 0; i < shared; i++) if (left[i] !== right[i]) return left[i]! - right[i]!
  return left.length - right.length
}

const bytesOf = (tensor: TensorToWrite): number => {
  const bits = tensor.shape.reduce((product, size) => product * size, bitsOf(safetensorsDtypeOf(tensor.dtype)))
  if (!Number.isSafeInteger(bits) || bits < 0 || bits % 8 !== 0)
    throw new RangeError(
      `writeSafetensors: ${tensor.name} is ${tensor.dtype} [${tensor.shape.join(", ")}], which is no whole number of bytes`
    )
  return bits / 8
}

/** The header with its length in front, and the tensors in the order of their bytes. */
export const safetensorsLayout = <T extends TensorToWrite>(
  tensors: ReadonlyArray<T>,
  options: WriteOptions = {}
): { readonly header: Uint8Array; readonly order: ReadonlyArray<T> } => {
  const order = [...tensors].sort(
    (a, b) => rankOf(safetensorsDtypeOf(b.dtype)) - rankOf(safetensorsDtypeOf(a.dtype)) || compareUtf8(a.name, b.name)
  )
  const entries = [`"__metadata__":${JSON.stringify(options.metadata ?? { format: "pt" })}`]
  const names = new Set(["__metadata__"])
  let end = 0
  for (const tensor of order) {
    if (names.has(tensor.name))
      throw new RangeError(`writeSafetensors: the name ${tensor.name} comes twice or is reserved`)
    names.add(tensor.name)
    const begin = end
    end += bytesOf(tensor)
    const entry = { dtype: safetensorsDtypeOf(tensor.dtype), shape: tensor.shape, data_offsets: [begin, end] }
    entries.push(`${JSON.stringify(tensor.name)}:${JSON.stringify(entry)}`)
  }
  const text = encoder.encode(`{${entries.join(",")}}`)
  const length = Math.ceil(text.byteLength / 8) * 8
  const header = new Uint8Array(8 + length).fill(0x20, 8)
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true)
  header.set(text, 8)
  return { header, order }
}

async function* chunks(header: Uint8Array, order: ReadonlyArray<TensorToWrite>): AsyncGenerator<Uint8Array> {
  yield header
  for (const tensor of order) {
    const wanted = bytesOf(tensor)
    const content = await tensor.read()
    let got = 0
    for await (const chunk of content instanceof Uint8Array ? [content] : content) {
      got += chunk.byteLength
      if (got > wanted) break
      yield chunk
    }
    if (got !== wanted)
      throw new RangeError(
        `writeSafetensors: ${tensor.name} is ${tensor.dtype} [${tensor.shape.join(", ")}], ${wanted} bytes, but its read gave ${got > wanted ? "more" : got}`
      )
  }
}

/** The file's bytes in order. A chunk is what a tensor's read gave: its memory may be another's when the next is asked for. */
export const safetensorsChunks = (
  tensors: ReadonlyArray<TensorToWrite>,
  options: WriteOptions = {}
): AsyncIterable<Uint8Array> => {
  const { header, order } = safetensorsLayout(tensors, options)
  return chunks(header, order)
}

/** Writes `path` atomically; the order of `tensors` does not matter. */
export const writeSafetensors = (
  path: string,
  tensors: ReadonlyArray<TensorToWrite>,
  options: WriteOptions = {}
): Effect.Effect<void, FileError> => {
  return (options.keepHash === true ? replaceFileWithHash : replaceFile)(path, safetensorsChunks(tensors, options))
}
