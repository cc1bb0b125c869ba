/**
 * The head of a GGUF: metadata and the list of tensors (github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3). A file
 * from outside is hostile: counts, lengths, types, offsets and sizes are checked against the file before they are used.
 */
import type { ByteSource } from "@graft/safetensors"
import { GgufCursor } from "./GgufCursor.ts"
import { GgufError } from "./GgufError.ts"
import { type GgmlType, ggmlTypes } from "./ggmlTypes.ts"

/** 64-bit integers are numbers where they are exact in a double. Arrays of numbers are typed arrays. */
export type GgufValue = string | number | bigint | boolean | GgufArray
export type GgufArray =
  | ReadonlyArray<string>
  | ReadonlyArray<boolean>
  | ReadonlyArray<GgufArray>
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Float64Array

export interface GgufTensor {
  readonly name: string
  readonly type: GgmlType
  /** Rows first, as everywhere in Graft: the file's dimensions reversed. */
  readonly shape: ReadonlyArray<number>
  /** The file that it lies in: of a model in parts, one of several. */
  readonly path: string
  /** Where its bytes begin, counted from the start of that file. */
  readonly offset: number
  readonly bytes: number
  /** The blocks as they lie in the file: `count` bytes from byte `start` of the tensor on; all of them when left out. */
  readonly read: (start?: number, count?: number) => Uint8Array
}

export interface GgufFile {
  readonly path: string
  readonly version: number
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: ReadonlyMap<string, GgufTensor>
  /** Where the head ends. */
  readonly headBytes: number
}

const MAGIC = 0x46554747 // "GGUF"
const DEEPEST_ARRAY = 4
const LONGEST_KEY = 65_535 // the format's own limit

type Fail = (what: string) => never

/** @throws GgufError */
export const parseGguf = (source: ByteSource): GgufFile => {
  const path = source.name
  const fail: Fail = (what) => {
    throw new GgufError({ message: `${path} is not a sound GGUF: ${what}. Fetch or convert it again.`, path })
  }
  const cursor = new GgufCursor(source, fail)
  if (source.size < 24) return fail(`it has ${source.size} bytes, and the shortest head takes 24`)
  if (cursor.u32("magic") !== MAGIC) return fail('it does not begin with "GGUF"')
  const version = cursor.u32("version")
  if (version === 0x02000000 || version === 0x03000000) return fail("it is big-endian; convert it to little-endian")
  if (version !== 2 && version !== 3) return fail(`it has version ${version}; 2 and 3 are known`)
  const tensorCount = cursor.count("the number of tensors")
  const keyCount = cursor.count("the number of metadata keys")
  cursor.require(keyCount, 13, `a list of ${keyCount} metadata keys`)
  cursor.require(tensorCount, 32, `a list of ${tensorCount} tensors`)

  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < keyCount; i++) {
    const key = readName(cursor, "a metadata key", fail)
    if (metadata.has(key)) return fail(`the metadata key ${JSON.stringify(key)} comes twice`)
    metadata.set(key, readValue(cursor, cursor.u32(`the type of ${key}`), key, 0, fail))
  }
  const listed: Array<Listed> = []
  for (let i = 0; i < tensorCount; i++) listed.push(readTensor(cursor, fail))

  const headBytes = cursor.position
  const alignment = alignmentOf(metadata, fail)
  const begin = Math.ceil(headBytes / alignment) * alignment
  const tensors = new Map<string, GgufTensor>()
  for (const tensor of listed) {
    const { name, bytes } = tensor
    const offset = begin + tensor.offset
    if (tensors.has(name)) return fail(`the tensor ${JSON.stringify(name)} comes twice`)
    if (tensor.offset % alignment !== 0)
      return fail(`tensor ${name} begins at ${tensor.offset}, which is no multiple of the alignment ${alignment}`)
    if (!Number.isSafeInteger(offset + bytes) || offset + bytes > source.size)
      return fail(`tensor ${name} would end at byte ${offset + bytes}, and the file at ${source.size}`)
    tensors.set(name, {
      ...tensor,
      path,
      offset,
      read: (start = 0, count = bytes - start) => {
        if (!(start >= 0 && count >= 0 && start + count <= bytes))
          throw new RangeError(`read: bytes [${start}, ${start + count}) of tensor ${name}, which has ${bytes}`)
        return source.read(offset + start, count)
      }
    })
  }
  requireApart([...tensors.values()], fail)
  return { path, version, metadata, tensors, headBytes }
}

const readName = (cursor: GgufCursor, what: string, fail: Fail): string => {
  const start = cursor.position
  const name = cursor.text(what)
  if (cursor.position - start - 8 > LONGEST_KEY)
    return fail(`${what} at byte ${start} is longer than ${LONGEST_KEY} bytes`)
  return name
}

const exact = (value: bigint): number | bigint => (Number.isSafeInteger(Number(value)) ? Number(value) : value)

const STRING = 8
const ARRAY = 9
const BOOL = 7

const readValue = (cursor: GgufCursor, type: number, what: string, depth: number, fail: Fail): GgufValue => {
  switch (type) {
    case 0:
      return cursor.u8(what)
    case 1:
      return cursor.i8(what)
    case 2:
      return cursor.u16(what)
    case 3:
      return cursor.i16(what)
    case 4:
      return cursor.u32(what)
    case 5:
      return cursor.i32(what)
    case 6:
      return cursor.f32(what)
    case BOOL:
      return readBoolean(cursor, what, fail)
    case STRING:
      return cursor.text(what)
    case ARRAY:
      return readArray(cursor, what, depth, fail)
    case 10:
      return exact(cursor.u64(what))
    case 11:
      return exact(cursor.i64(what))
    case 12:
      return cursor.f64(what)
    default:
      return fail(`${what} has the value type ${type}; known are 0 to 12`)
  }
}

const readBoolean = (cursor: GgufCursor, what: string, fail: Fail): boolean => {
  const byte = cursor.u8(what)
  return byte > 1 ? fail(`the boolean ${what} is ${byte}`) : byte === 1
}

/** Arrays of numbers by their type: the bytes of an element, and the array over a copy of the bytes. */
const numericArrays: ReadonlyMap<number, readonly [number, (buffer: ArrayBufferLike) => GgufArray]> = new Map<
  number,
  readonly [number, (buffer: ArrayBufferLike) => GgufArray]
>([
  [0, [1, (buffer) => new Uint8Array(buffer)]],
  [1, [1, (buffer) => new Int8Array(buffer)]],
  [2, [2, (buffer) => new Uint16Array(buffer)]],
  [3, [2, (buffer) => new Int16Array(buffer)]],
  [4, [4, (buffer) => new Uint32Array(buffer)]],
  [5, [4, (buffer) => new Int32Array(buffer)]],
  [6, [4, (buffer) => new Float32Array(buffer)]],
  [10, [8, (buffer) => new BigUint64Array(buffer)]],
  [11, [8, (buffer) => new BigInt64Array(buffer)]],
  [12, [8, (buffer) => new Float64Array(buffer)]]
])

const readArray = (cursor: GgufCursor, what: string, depth: number, fail: Fail): GgufArray => {
  if (depth >= DEEPEST_ARRAY) return fail(`${what} nests arrays more than ${DEEPEST_ARRAY} deep`)
  const type = cursor.u32(`the element type of ${what}`)
  const count = cursor.count(`the length of ${what}`)
  const list = <T>(each: number, read: () => T): ReadonlyArray<T> => {
    cursor.require(count, each, what)
    const items: Array<T> = []
    for (let i = 0; i < count; i++) items.push(read())
    return items
  }
  if (type === STRING) return list(8, () => cursor.text(what))
  if (type === BOOL) return list(1, () => readBoolean(cursor, what, fail))
  if (type === ARRAY) return list(12, () => readArray(cursor, what, depth + 1, fail))
  const numeric = numericArrays.get(type)
  if (numeric === undefined) return fail(`${what} is an array of the value type ${type}; known are 0 to 12`)
  const [each, over] = numeric
  cursor.require(count, each, what)
  return over(cursor.bytes(count * each, what).buffer)
}

/** `offset` still counts from where the tensors' data begins. */
type Listed = Omit<GgufTensor, "read" | "path">

/** One entry of the list. */
const readTensor = (cursor: GgufCursor, fail: Fail): Listed => {
  const name = readName(cursor, "a tensor's name", fail)
  const where = `tensor ${JSON.stringify(name)}`
  const rank = cursor.u32(`the number of dimensions of ${where}`)
  if (rank < 1 || rank > 4) return fail(`${where} has ${rank} dimensions; 1 to 4 are allowed`)
  const dimensions: Array<number> = []
  let elements = 1
  for (let i = 0; i < rank; i++) {
    const size = cursor.count(`a dimension of ${where}`)
    if (size === 0) return fail(`${where} has a dimension of 0`)
    dimensions.push(size)
    elements *= size
    if (!Number.isSafeInteger(elements)) return fail(`${where} has more than 2^53 elements`)
  }
  const id = cursor.u32(`the type of ${where}`)
  const type = ggmlTypes.get(id)
  if (type === undefined)
    return fail(
      `${where} has the type ${id}; known are ${[...ggmlTypes.values()].map((known) => known.name).join(", ")}`
    )
  const offset = cursor.count(`the offset of ${where}`)
  if (dimensions[0]! % type.elements !== 0)
    return fail(`${where} has rows of ${dimensions[0]}, which ${type.name} cannot cut into blocks of ${type.elements}`)
  const bytes = (elements / type.elements) * type.bytes
  return { name, type, shape: dimensions.reverse(), offset, bytes }
}

const alignmentOf = (metadata: ReadonlyMap<string, GgufValue>, fail: Fail): number => {
  const alignment = metadata.get("general.alignment") ?? 32
  const valid =
    typeof alignment === "number" && alignment >= 8 && alignment <= 1 << 20 && Number.isInteger(Math.log2(alignment))
  return valid ? alignment : fail(`general.alignment is ${String(alignment)}; a power of two from 8 on is wanted`)
}

const requireApart = (tensors: ReadonlyArray<GgufTensor>, fail: Fail): void => {
  const byOffset = [...tensors].sort((a, b) => a.offset - b.offset)
  for (let i = 1; i < byOffset.length; i++) {
    const before = byOffset[i - 1]!
    const tensor = byOffset[i]!
    if (before.offset + before.bytes > tensor.offset) fail(`the tensors ${before.name} and ${tensor.name} overlap`)
  }
}
