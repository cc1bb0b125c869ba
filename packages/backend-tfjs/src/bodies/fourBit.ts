/**
 * 4-bit weights, by names like `nf4+f32` or `fp4+double-quant`: 16 values of a code book, blocks
 * that share a scale, scales plain (`f32`) or in 8 bits. The codes stay three bytes to an f32 (storage.ts), which is six codes;
 * they are read by a table of 4096 entries of three values. Registered by name: this package knows no plug-in.
 */
import { type Call, scalar, sizeOf } from "../Call.ts"
import { BYTES_PER_FLOAT } from "../storage.ts"
import type { Handle, Ops } from "../TensorFlow.ts"
import { codebooks, dynamicMap } from "./codeTables.ts"
import type { Reader } from "./weights.ts"

/** Codes of one f32. */
const CODES = 2 * BYTES_PER_FLOAT
/** Scales that share a nested scale. */
const NESTED_BLOCK = 256
/** Block sizes that bitsandbytes knows; the sizes of codes and scales say which it is. */
const BLOCKS = [32, 64, 128, 256, 512, 1024, 2048, 4096] as const

/** The part [first, first + count) of a vector; itself where this is all. */
const part = <T extends Handle>(tf: Ops<T>, x: T, first: number, count: number): T =>
  first === 0 && count === x.shape[0] ? x : tf.slice(x, [first], [count])

/** Values of 24-bit numbers [n] by a table whose entries are looked up by 12 bits each: [n · 2 · width]. */
const lookUp = <T extends Handle>(tf: Ops<T>, packed: T, table: T, bits: number): T => {
  const [n, width] = [packed.shape[0]!, table.shape[1]!]
  const pieces: Array<T> = []
  let rest = packed
  for (let shift = 24 - bits; shift > 0; shift -= bits) {
    const high = tf.floor(tf.mul(rest, scalar(tf, 2 ** -shift))) // exact: integers below 2^24 by powers of two
    pieces.push(tf.reshape(high, [n, 1]))
    rest = tf.sub(rest, tf.mul(high, scalar(tf, 2 ** shift)))
  }
  const indices = tf.cast(tf.reshape(tf.concat([...pieces, tf.reshape(rest, [n, 1])], 1), [n * (24 / bits)]), "int32")
  return tf.reshape(tf.gather(table, indices, 0), [n * (24 / bits) * width])
}
/** Numbers [first, first + count) of what lies `each` to an f32. */
const unpacked = <T extends Handle>(
  call: Call<T>,
  operand: number,
  each: number,
  table: T,
  bits: number,
  first: number,
  count: number
): T => {
  const { tf, shapes } = call
  const from = Math.floor(first / each)
  const held = Math.ceil((first + count) / each) - from
  const size = Math.ceil(sizeOf(shapes[operand]!) / BYTES_PER_FLOAT)
  return tf.tidy(() => {
    const packed = part(tf, call.at(operand, [size]), from, held)
    return part(tf, lookUp(tf, packed, table, bits), first - from * each, count)
  })
}
/** values [count] of elements from `first` on, times the scale of their block; `scales` are those of the blocks touched. */
const timesScales = <T extends Handle>(tf: Ops<T>, values: T, first: number, block: number, scales: T): T => {
  const count = values.shape[0]!
  const before = first % block
  const blocks = scales.shape[0]!
  const after = blocks * block - before - count
  const padded = before + after === 0 ? values : tf.pad(values, [[before, after]])
  const product = tf.mul(tf.reshape(padded, [blocks, block]), tf.reshape(scales, [blocks, 1]))
  return part(tf, tf.reshape(product, [blocks * block]), before, count)
}
const touched = (first: number, count: number, block: number): readonly [from: number, blocks: number] => {
  const from = Math.floor(first / block)
  return [from, Math.ceil((first + count) / block) - from]
}

type ReadScales = <T extends Handle>(call: Call<T>, operand: number, first: number, count: number) => T
/** One f32 a block. */
const plain: ReadScales = (call, operand, first, count) =>
  part(call.tf, call.at(operand, [sizeOf(call.shapes[operand]!)]), first, count)
/** codes u8 [n], nested scales f32 [⌈n/256⌉], offset f32 [1]: scale = map[code] · nested + offset. */
const nested: ReadScales = (call, operand, first, count) => {
  const { tf } = call
  const map = call.constant("dynamic map", dynamicMap, [256, 1])
  const values = unpacked(call, operand, BYTES_PER_FLOAT, map, 8, first, count)
  const [from, blocks] = touched(first, count, NESTED_BLOCK)
  const scales = part(tf, call.at(operand + 1, [sizeOf(call.shapes[operand + 1]!)]), from, blocks)
  return tf.add(timesScales(tf, values, first, NESTED_BLOCK, scales), call.at(operand + 2, []))
}
const scaleReaders: Readonly<Record<string, ReadScales>> = { f32: plain, "double-quant": nested }

/** The values of three codes, by their 12 bits: [4096, 3]. */
const tableOf = (values: ReadonlyArray<number>): Float32Array =>
  Float32Array.from({ length: 4096 * 3 }, (_, i) => values[(Math.floor(i / 3) >> (8 - 4 * (i % 3))) & 15]!)

/** The reader of a codec of this name, if it is 4-bit. */
export const fourBitReader = (codec: string): Reader | undefined => {
  const [book = "", format = ""] = codec.split("+")
  const [values, readScales] = [codebooks[book], scaleReaders[format]]
  if (values === undefined || readScales === undefined) return undefined
  return {
    lies: false,
    rows: (call, storage, first, rows) => {
      const inner = call.number("in")
      const [start, count] = [first * inner, rows * inner]
      const elements = call.number("out") * inner
      const stored = sizeOf(call.shapes[storage + 1]!)
      const block = BLOCKS.find((size) => Math.ceil(elements / size) === stored)
      if (block === undefined)
        throw new RangeError(`${codec}: ${stored} scales of ${elements} weights are of no block size that is known`)
      const { tf } = call
      const table = call.constant(`${book} codes`, () => tableOf(values), [4096, 3])
      const codes = unpacked(call, storage, CODES, table, 12, start, count)
      const [from, blocks] = touched(start, count, block)
      const scaled = timesScales(tf, codes, start, block, readScales(call, storage + 1, from, blocks))
      return tf.reshape(scaled, [rows, inner])
    }
  }
}
