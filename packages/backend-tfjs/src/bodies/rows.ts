/** fill, add, addScaled, scaleRows, sum, broadcast, scaleColumns and its gradient, addColumns, columnSums, columns, gemm: elements, rows and products. */
import {
  added,
  type Body,
  columnsOf,
  placed,
  preciseSum,
  product,
  rowsFrom,
  rowsOf,
  scalar,
  sizeOf,
  whole
} from "../Call.ts"
import type { Handle, Ops } from "../TensorFlow.ts"

const scaled = <T extends Handle>(tf: Ops<T>, x: T, scale: number): T =>
  scale === 1 ? x : tf.mul(x, scalar(tf, scale))

export const rowBodies: Readonly<Record<string, Body>> = {
  add: (call) => [
    call.tf.add(call.at(1), scaled(call.tf, call.at(2, [rowsOf(call, 1), columnsOf(call, 1)]), call.number("scale")))
  ],
  addScaled: (call) => {
    const { tf, number } = call
    const rows = number("rows")
    if (rows === 0) return [call.at(0)]
    const outRow = number("outRow")
    const piece = scaled(tf, rowsFrom(tf, call.at(1), number("xRow"), rows), number("scale"))
    return [placed(call, added(call, piece, outRow), outRow)]
  },
  scaleRows: (call) => {
    const rows = rowsOf(call, 1)
    return [whole(call, call.tf.mul(call.at(1), call.at(2, [rows, 1])))]
  },
  sum: (call) => [
    whole(call, scaled(call.tf, preciseSum(call.tf, call.at(1, [sizeOf(call.shapes[1]!)])), call.number("scale")))
  ],
  broadcast: (call) => {
    const zeros = call.tf.fill([rowsOf(call, 0), columnsOf(call, 0)], 0, "float32")
    return [whole(call, call.tf.add(zeros, scaled(call.tf, call.at(1, []), call.number("scale"))))]
  },
  scaleColumns: (call) => {
    const n = sizeOf(call.shapes[2]!)
    return [whole(call, call.tf.div(call.tf.mul(call.at(1, [-1, n]), call.at(2, [n])), call.at(3, [n])))]
  },
  scaleColumnsBackwardM: (call) => {
    const n = sizeOf(call.shapes[0]!)
    const { tf } = call
    const sums = tf.sum(tf.mul(call.at(1, [-1, n]), call.at(2, [-1, n])), 0, false)
    return [whole(call, tf.div(sums, call.at(3, [n])))]
  },
  addColumns: (call) => {
    const n = sizeOf(call.shapes[2]!)
    return [call.tf.add(call.at(1, [-1, n]), call.at(2, [n]))]
  },
  columnSums: (call) => [whole(call, call.tf.sum(call.at(1, [-1, sizeOf(call.shapes[0]!)]), 0, false))],
  columns: (call) => {
    const { tf, number } = call
    const rows = rowsOf(call, 1)
    const [width, outWidth, outColumn] = [number("width"), number("outWidth"), number("outColumn")]
    const piece = tf.slice(call.at(1), [0, number("xColumn")], [rows, width])
    if (width === outWidth) return [whole(call, piece)]
    const old = call.at(0)
    const of = (start: number, count: number) => tf.slice(old, [0, start], [rows, count])
    const end = outColumn + width
    const parts = [
      ...(outColumn > 0 ? [of(0, outColumn)] : []),
      call.flag("accumulate") ? tf.add(of(outColumn, width), piece) : piece,
      ...(end < outWidth ? [of(end, outWidth - end)] : [])
    ]
    return [tf.concat(parts, 1)]
  },
  gemm: (call) => {
    const { tf, number, flag } = call
    const [m, k, n] = [number("m"), number("k"), number("n")]
    const [ta, tb, outRow] = [flag("ta"), flag("tb"), number("outRow")]
    const a = rowsFrom(tf, call.at(1), number("aRow"), ta ? k : m)
    const b = rowsFrom(tf, call.at(2), number("bRow"), tb ? n : k)
    const piece = scaled(tf, product(tf, a, b, ta, tb), number("scale"))
    return [placed(call, added(call, piece, outRow), outRow)]
  }
}
