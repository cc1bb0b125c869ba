/**
 * The program's side of streaming: commands of the queue, so that what a frame holds is known from their order alone. `bring`
 * makes a frame hold a layer, and what follows may read it; `prefetch` comes behind the last reader of a frame and says what
 * it is for next. A backend with native bodies reads between the two on threads of its own, others when `bring` runs.
 */
import { fileURLToPath } from "node:url"
import type { Kernel, PageTraffic } from "@graft/core"
import { type FileOnDisk, LayerReader, type Segment } from "./LayerReader.ts"

/** The native bodies, where they were built. */
export const library = fileURLToPath(
  new URL(`../prebuilt/${process.platform}-${process.arch}/weight-stream.so`, import.meta.url)
)

/** Names a stream to kernels. */
type StoreId = number
const readers = new Map<StoreId, LayerReader>()
const readerOf = (id: StoreId): LayerReader => {
  const reader = readers.get(id)
  if (reader === undefined) throw new ReferenceError(`internal: there is no stream of weights ${id}`)
  return reader
}
export const closeReader = (id: StoreId): void => {
  readers.get(id)?.close()
  readers.delete(id)
}

/** Longer paths are refused by Linux too. */
const PATH_BYTES = 4096

interface Sizes {
  readonly files: number
  readonly layers: number
  readonly segments: number
}
const numbersOf = ({ files, layers, segments }: Sizes): number => files + layers + 1 + 4 * segments
export const tableBytes = (sizes: Sizes): number => 8 * numbersOf(sizes) + PATH_BYTES * sizes.files

/** i64: sizes of files, first segment of each layer and their count, the segments; then the paths. */
export const encodeTable = (
  files: ReadonlyArray<FileOnDisk>,
  layers: ReadonlyArray<ReadonlyArray<Segment>>
): Uint8Array => {
  const segments = layers.flat()
  const sizes = { files: files.length, layers: layers.length, segments: segments.length }
  const bytes = new Uint8Array(tableBytes(sizes))
  const numbers = new BigInt64Array(bytes.buffer, 0, numbersOf(sizes))
  let at = 0
  const put = (...values: ReadonlyArray<number>): void => {
    for (const value of values) numbers[at++] = BigInt(value)
  }
  put(...files.map(({ size }) => size))
  let first = 0
  for (const layer of layers) {
    put(first)
    first += layer.length
  }
  put(first)
  for (const { file, offset, bytes: length, to } of segments) put(file, offset, length, to)
  for (const [i, { path }] of files.entries()) {
    const text = new TextEncoder().encode(path)
    if (text.length >= PATH_BYTES) throw new RangeError(`a path has ${text.length} bytes: ${path}`)
    bytes.set(text, 8 * at + PATH_BYTES * i)
  }
  return bytes
}
const decodeTable = (table: Uint8Array, { files, layers, segments }: Sizes): LayerReader => {
  const bytes = table.slice()
  const count = numbersOf({ files, layers, segments })
  const numbers = Array.from(new BigInt64Array(bytes.buffer, 0, count), Number)
  const pathOf = (i: number): string => {
    const at = 8 * count + PATH_BYTES * i
    const end = bytes.indexOf(0, at)
    return new TextDecoder().decode(bytes.subarray(at, end))
  }
  const all = Array.from({ length: segments }, (_, i) => {
    const [file = 0, offset = 0, length = 0, to = 0] = numbers.slice(files + layers + 1 + 4 * i)
    return { file, offset, bytes: length, to }
  })
  return new LayerReader(
    Array.from({ length: files }, (_, i) => ({ path: pathOf(i), size: numbers[i]! })),
    Array.from({ length: layers }, (_, i) => all.slice(numbers[files + i], numbers[files + i + 1]))
  )
}

/** table u8, from `encodeTable` */
export const openStream: Kernel<{ readonly store: StoreId; readonly frames: number } & Sizes> = {
  name: "weight-stream.open",
  outputs: 0,
  fields: ["store", "files", "layers", "segments", "frames"],
  dtypes: ["u8"],
  check: ([table], sizes) => table!.bytes !== tableBytes(sizes) && `a table of ${table!.bytes} bytes`,
  reference: ([table], { store, ...sizes }) => void readers.set(store, decodeTable(table as Uint8Array, sizes)) // by dtypes
}
type Visit = { readonly store: StoreId; readonly frame: number; readonly layer: number }
/** frame u8. It is no output: what it holds is the file's, and a flight recorder need not hash it. */
export const bringLayer: Kernel<Visit> = {
  name: "weight-stream.bring",
  outputs: 0,
  fields: ["store", "frame", "layer"],
  dtypes: ["u8"],
  reference: ([memory], { store, frame, layer }) => readerOf(store).bring(frame, memory as Uint8Array, layer) // by dtypes
}
/** The same operand. */
export const prefetchLayer: Kernel<Visit> = {
  name: "weight-stream.prefetch",
  outputs: 0,
  fields: ["store", "frame", "layer"],
  dtypes: ["u8"],
  reference: () => {}
}

const COUNTS = ["faults", "hits", "bytesIn", "bytesOut", "stallSeconds"] as const
export const TRAFFIC_BYTES = 8 * COUNTS.length
/** traffic f64 [5], as bytes: since it was last taken. No output: the flight recorder compares runs, and times differ. */
export const takeTraffic: Kernel<{ readonly store: StoreId }> = {
  name: "weight-stream.traffic",
  outputs: 0,
  fields: ["store"],
  dtypes: ["u8"],
  check: ([traffic]) => traffic!.bytes !== TRAFFIC_BYTES && `${traffic!.bytes} bytes`,
  reference: ([traffic], { store }) => {
    const moved = readerOf(store).takeTraffic()
    const bytes = new Uint8Array(Float64Array.from(COUNTS, (name) => moved[name]).buffer)
    for (const [i, byte] of bytes.entries()) traffic![i] = byte
  }
}
export const trafficOf = (bytes: Uint8Array): PageTraffic => {
  const [faults = 0, hits = 0, bytesIn = 0, bytesOut = 0, stallSeconds = 0] = new Float64Array(bytes.slice().buffer)
  return { faults, hits, bytesIn, bytesOut, stallSeconds }
}
