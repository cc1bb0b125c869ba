/**
 * The kernels of a frozen W [out, in] over any reader of its rows. W is read in pieces of rows, so that what is
 * dequantised for one use stays below a bound.
 */
import { added, type Body, type Call, columnsOf, placed, product, rowsFrom, rowsOf, scalar, sizeOf } from "../Call.ts"
import type { Handle, Ops } from "../TensorFlow.ts"

/** Elements of W that are dequantised at one time. */
const PIECE = 1 << 22

/** Reads W from the storage operands, which begin at operand `storage`. */
export interface Reader {
  /** Rows [first, first + rows) of W, f32 [rows, in]. */
  readonly rows: <T extends Handle>(call: Call<T>, storage: number, first: number, rows: number) => T
  /** Whether a row read costs nothing, so that W is never cut. */
  readonly lies: boolean
}

interface Span {
  readonly first: number
  readonly rows: number
}
const spansOf = <T>(call: Call<T>, { lies }: Reader, from = 0, all = call.number("out")): ReadonlyArray<Span> => {
  const most = lies ? all : Math.max(1, Math.floor(PIECE / call.number("in")))
  return Array.from({ length: Math.ceil(all / most) }, (_, i) => ({
    first: from + i * most,
    rows: Math.min(most, all - i * most)
  }))
}
const joined = <T>(tf: Ops<T>, parts: ReadonlyArray<T>, axis: number): T =>
  parts.length === 1 ? parts[0]! : tf.concat([...parts], axis)

/** scale · h · factor, the tail of a product; the factor is [out, rank], or [rank, in] where W is transposed. */
const tailOf = <T extends Handle>(call: Call<T>, rows: number, transposed: boolean): T => {
  const { tf, number } = call
  const [rank, hRow, hTransposed] = [number("rank"), number("hRow"), call.flag("hTransposed")]
  const h = rowsFrom(tf, call.at(2), hRow, hTransposed ? rank : rows)
  return tf.mul(product(tf, h, call.at(3), hTransposed, !transposed), scalar(tf, number("scale")))
}
/** `sum`, and the tail's, where the call has one. */
const withTail = <T extends Handle>(call: Call<T>, tailed: boolean, sum: T, transposed: boolean): T =>
  tailed ? call.tf.add(sum, tailOf(call, call.number("rows"), transposed)) : sum

const apply =
  (reader: Reader, tailed = false): Body =>
  (call) => {
    const { tf, number } = call
    const [rows, yRow] = [number("rows"), number("yRow")]
    if (rows === 0) return [call.at(0)]
    const x = rowsFrom(tf, call.at(1), number("xRow"), rows)
    const parts = spansOf(call, reader).map((span) =>
      tf.tidy(() => product(tf, x, reader.rows(call, tailed ? 4 : 2, span.first, span.rows), false, true))
    )
    return [placed(call, added(call, withTail(call, tailed, joined(tf, parts, 1), false), yRow), yRow)]
  }
const applyTransposed =
  (reader: Reader, tailed = false): Body =>
  <T extends Handle>(call: Call<T>) => {
    const { tf, number } = call
    const [rows, yRow] = [number("rows"), number("yRow")]
    if (rows === 0) return [call.at(0)]
    const dy = rowsFrom(tf, call.at(1), number("xRow"), rows)
    let sum: T | undefined
    for (const { first, rows: some } of spansOf(call, reader)) {
      sum = tf.tidy(() => {
        const part = some === number("out") ? dy : tf.slice(dy, [0, first], [rows, some])
        const dx = product(tf, part, reader.rows(call, tailed ? 4 : 2, first, some), false, false)
        return sum === undefined ? dx : tf.add(sum, dx)
      })
    }
    return [placed(call, added(call, withTail(call, tailed, sum!, true), yRow), yRow)]
  }
const dequantizeRows =
  (reader: Reader): Body =>
  (call) => {
    const parts = spansOf(call, reader, call.number("firstRow"), rowsOf(call, 0)).map(({ first, rows }) =>
      call.tf.tidy(() => reader.rows(call, 1, first, rows))
    )
    return [joined(call.tf, parts, 0)]
  }
/** Rows by id: of a W that lies, by the device; else row by row where the host knows the ids. */
const gatherRows =
  (reader: Reader): Body =>
  (call) => {
    const { tf } = call
    if (reader.lies) {
      const w = call.at(2, [call.number("out"), columnsOf(call, 0)])
      return [tf.gather(w, call.at(1, [sizeOf(call.shapes[1]!)]), 0)]
    }
    const n = sizeOf(call.shapes[1]!)
    const ids = call.integers(1, () => new Int32Array(n))
    const parts = Array.from({ length: n }, (_, i) => tf.tidy(() => reader.rows(call, 2, ids[i]!, 1)))
    return [joined(tf, parts, 0)]
  }
const rowNormsSquared =
  (reader: Reader): Body =>
  (call) => {
    const { tf } = call
    const parts = spansOf(call, reader).map(({ first, rows }) =>
      tf.tidy(() => {
        const w = reader.rows(call, 1, first, rows)
        return tf.sum(tf.mul(w, w), 1, false)
      })
    )
    return [joined(tf, parts, 0)]
  }

export const weightBodies = (reader: Reader): Readonly<Record<string, Body>> => ({
  apply: apply(reader),
  applyTransposed: applyTransposed(reader),
  applyWithTail: apply(reader, true),
  applyTransposedWithTail: applyTransposed(reader, true),
  dequantizeRows: dequantizeRows(reader),
  gatherRows: gatherRows(reader),
  rowNormsSquared: rowNormsSquared(reader)
})

/** One tensor in a float dtype, held as f32. */
export const dense: Reader = {
  lies: true,
  rows: (call, storage, first, rows) =>
    rowsFrom(call.tf, call.at(storage, [call.number("out"), call.number("in")]), first, rows)
}
