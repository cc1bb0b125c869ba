/**
 * The header of a safetensors file: eight bytes of length, that many bytes of JSON, then the tensors' bytes without a
 * hole (github.com/huggingface/safetensors, README "Format"). Everything in it is checked against the file's size before
 * it is used; a tensor's own bytes are read when asked for.
 */
import type { ByteSource } from "./ByteSource.ts"
import {
  bitsOf,
  type ComputeDtype,
  computeDtypeOf,
  isSafetensorsDtype,
  type SafetensorsDtype,
  safetensorsDtypes
} from "./SafetensorsDtype.ts"
import { SafetensorsError } from "./SafetensorsError.ts"
import { isJsonObject, type JsonObject, type JsonValue, strictJson } from "./strictJson.ts"

/** As the file lists it. */
export interface SafetensorsTensor {
  readonly name: string
  readonly dtype: SafetensorsDtype
  readonly shape: ReadonlyArray<number>
  /** Where its bytes begin, counted from the start of the file. */
  readonly offset: number
  readonly bytes: number
  /** The raw little-endian bytes, read now: `count` from byte `start` of the tensor on, all of them when left out. */
  readonly read: (start?: number, count?: number) => Uint8Array
}

/** A tensor that Graft computes with; core's `SourceTensor`. */
export interface ComputeTensor {
  readonly name: string
  readonly dtype: ComputeDtype
  readonly shape: ReadonlyArray<number>
  readonly read: () => Uint8Array
  readonly file?: { readonly path: string; readonly offset: number; readonly bytes: number }
}

/** What a file holds; also core's `TensorFile`. */
export interface SafetensorsFile {
  readonly path: string
  readonly metadata: ReadonlyMap<string, string>
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>
  readonly names: ReadonlyArray<string>
  /** @throws SafetensorsError for a format that Graft does not compute with: those are in `tensors` only */
  readonly get: (name: string) => ComputeTensor | undefined
}

/** The reference implementation's limit: a larger header is an attack, or not safetensors at all. */
const LONGEST_HEADER = 100_000_000

/** What a pointer of Git LFS begins with, `version `, taken for a length (github.com/git-lfs/git-lfs, docs/spec.md). */
const LFS_POINTER = new DataView(new TextEncoder().encode("version ").buffer).getBigUint64(0, true)

/** Product of a shape, or `undefined` where it is no exact integer. */
const elementsOf = (shape: ReadonlyArray<number>): number | undefined => {
  let count = 1
  for (const size of shape) {
    count *= size
    if (!Number.isSafeInteger(count)) return undefined
  }
  return count
}

const sizes = (value: JsonValue | undefined): ReadonlyArray<number> | undefined =>
  Array.isArray(value) && value.every((n): n is number => typeof n === "number" && n >= 0) ? value : undefined

/** @throws SafetensorsError */
export const parseSafetensors = (source: ByteSource): SafetensorsFile => {
  const path = source.name
  const fail = (what: string): never => {
    throw new SafetensorsError({
      message: `${path} is not a sound safetensors file: ${what}. Fetch or write it again.`,
      path
    })
  }
  if (source.size < 8) return fail(`it has ${source.size} bytes, and the header's length alone takes 8`)
  const prefix = source.read(0, 8)
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true)
  if (length === LFS_POINTER)
    return fail("it is a pointer of Git LFS, which stands for the file until that is fetched (git lfs pull)")
  if (length > BigInt(source.size - 8))
    return fail(`the header claims ${length} bytes, and ${source.size - 8} follow (cut short, or another format)`)
  if (length > BigInt(LONGEST_HEADER))
    return fail(`the header claims ${length} bytes; at most ${LONGEST_HEADER} are allowed`)
  const headerBytes = Number(length)
  const header = readHeader(source.read(8, headerBytes), fail)

  const begin = 8 + headerBytes
  const available = source.size - begin
  let metadata: ReadonlyMap<string, string> = new Map()
  const listed: Array<SafetensorsTensor> = []
  for (const [name, value] of header) {
    if (name === "__metadata__") metadata = readMetadata(value, fail)
    else listed.push(readEntry(source, name, value, begin, available, fail))
  }
  listed.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)
  let end = begin
  for (const tensor of listed) {
    if (tensor.offset !== end)
      return fail(
        `the bytes of ${JSON.stringify(tensor.name)} begin at ${tensor.offset - begin}, but the tensors before it end at ${end - begin} (${tensor.offset < end ? "they overlap" : "a hole"})`
      )
    end = tensor.offset + tensor.bytes
  }
  if (end !== source.size) return fail(`its tensors end at byte ${end}, and the file at ${source.size}`)

  const tensors = new Map(listed.map((tensor) => [tensor.name, tensor]))
  return {
    path,
    metadata,
    tensors,
    names: [...tensors.keys()],
    get: (name) => computeTensor(source, tensors.get(name))
  }
}

const computeTensor = (source: ByteSource, tensor: SafetensorsTensor | undefined): ComputeTensor | undefined => {
  if (tensor === undefined) return undefined
  const { name, shape, offset, bytes } = tensor
  const dtype = computeDtypeOf(tensor.dtype)
  if (dtype === undefined)
    throw new SafetensorsError({
      message: `${source.name}: tensor ${name} is ${tensor.dtype}; weights may be F32, BF16, F16, I32, I8 or U8. Convert it.`,
      path: source.name
    })
  return {
    name,
    dtype,
    shape,
    read: () => tensor.read(),
    ...(source.path === undefined ? {} : { file: { path: source.path, offset, bytes } })
  }
}

type Fail = (what: string) => never

const readHeader = (bytes: Uint8Array, fail: Fail): JsonObject => {
  if (bytes[0] !== 0x7b) return fail("the header does not begin with {")
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    return fail("the header is not UTF-8")
  }
  let header: JsonValue
  try {
    header = strictJson(text)
  } catch (cause) {
    // The parser throws nothing but SyntaxError; what it says is for the reader of the message.
    return fail(`in the header, ${(cause as SyntaxError).message}`)
  }
  return isJsonObject(header) ? header : fail("the header is no JSON object")
}

const readMetadata = (value: JsonValue, fail: Fail): ReadonlyMap<string, string> => {
  if (!isJsonObject(value)) return fail("__metadata__ is no object")
  const metadata = new Map<string, string>()
  for (const [key, item] of value) {
    if (typeof item !== "string") return fail(`__metadata__ may hold strings only, and ${JSON.stringify(key)} is none`)
    metadata.set(key, item)
  }
  return metadata
}

const readEntry = (
  source: ByteSource,
  name: string,
  value: JsonValue,
  begin: number,
  available: number,
  fail: Fail
): SafetensorsTensor => {
  const where = `tensor ${JSON.stringify(name)}`
  if (!isJsonObject(value)) return fail(`${where} is described by no object`)
  const dtype = value.get("dtype")
  if (!isSafetensorsDtype(dtype))
    return fail(`${where} has dtype ${JSON.stringify(dtype)}; known are ${safetensorsDtypes.join(", ")}`)
  const shape = sizes(value.get("shape"))
  if (shape === undefined) return fail(`the shape of ${where} is no list of sizes`)
  const range = sizes(value.get("data_offsets"))
  const [first, end] = range ?? []
  if (range?.length !== 2 || first === undefined || end === undefined)
    return fail(`data_offsets of ${where} is no pair of offsets`)
  if (!(first <= end && end <= available))
    return fail(`${where} lies at bytes [${first}, ${end}), and the file has ${available} bytes of tensors`)
  const elements = elementsOf(shape)
  if (elements === undefined || elements * bitsOf(dtype) !== (end - first) * 8)
    return fail(`${where} is ${dtype} [${shape.join(", ")}], which does not take the ${end - first} bytes it is given`)
  const offset = begin + first
  const bytes = end - first
  return {
    name,
    dtype,
    shape,
    offset,
    bytes,
    read: (start = 0, count = bytes - start) => {
      if (!(start >= 0 && count >= 0 && start + count <= bytes))
        throw new RangeError(`read: bytes [${start}, ${start + count}) of tensor ${name}, which has ${bytes}`)
      return source.read(offset + start, count)
    }
  }
}
