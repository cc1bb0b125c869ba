import { type Destination, definePrimitive, type Into, Routed } from "../Op.ts"
import { gemm, plainGemm } from "../reference/gemm.ts"
import { fill } from "../reference/rows.ts"
import type { Graph } from "../Tape.ts"
import { Tensor } from "../Tensor.ts"
import type { Weight, Window } from "../Weight.ts"

/** A matrix [out, in]: a frozen operator, or a tensor that is trained. */
export type Matrix = Weight | Tensor
export const outFeatures = (w: Matrix): number => (w instanceof Tensor ? w.rows : w.outFeatures)
export const inFeatures = (w: Matrix): number => (w instanceof Tensor ? w.columns : w.inFeatures)

type Rows = Omit<Window, "tail">
/** y (+)= x wᵀ and dx (+)= dy w over a window of rows, for either kind of matrix. */
export const applyMatrix = (
  g: Graph,
  y: Tensor,
  x: Tensor,
  w: Matrix,
  { xRow = 0, yRow = 0, rows = x.rows, accumulate = false }: Rows = {}
): void => {
  if (!(w instanceof Tensor)) return w.apply(y, x, { xRow, yRow, rows, accumulate })
  const sizes = { m: rows, k: w.columns, n: w.rows, tb: true, accumulate, aRow: xRow, outRow: yRow }
  g.run(gemm, [y, x, w], { ...plainGemm, ...sizes })
}
export const applyMatrixTransposed = (
  g: Graph,
  dx: Tensor,
  dy: Tensor,
  w: Matrix,
  { xRow = 0, yRow = 0, rows = dy.rows, accumulate = false }: Rows = {}
): void => {
  if (!(w instanceof Tensor)) return w.applyTransposed(dx, dy, { xRow, yRow, rows, accumulate })
  const sizes = { m: rows, k: w.rows, n: w.columns, accumulate, aRow: xRow, outRow: yRow }
  g.run(gemm, [dx, dy, w], { ...plainGemm, ...sizes })
}

/** Some rows of x instead of all. */
export interface RowRange {
  readonly start: number
  readonly rows: number
}
/** Where to add the gradient of a range of x's rows: whoever comes first zeroes the others. */
export const gradientOfRange = (g: Graph, into: Into, x: Tensor, { rows }: RowRange): Destination | undefined => {
  const dx = into(x)
  if (dx === undefined || dx.accumulate || rows === x.rows) return dx
  g.run(fill, [dx.tensor], { value: 0 })
  return { ...dx, accumulate: true }
}

/** y [rows, out] = x [tokens, in] wᵀ; w [out, in] frozen or trained. A frozen one keeps nothing of x. */
export const linear = definePrimitive("linear", {
  forward: (g, x: Tensor, w: Matrix, range: RowRange = { start: 0, rows: x.rows }) => {
    if (x.columns !== inFeatures(w))
      throw new TypeError(`linear: x [${x.shape}] does not fit w [${outFeatures(w)}, ${inFeatures(w)}]: inner sizes`)
    const { start: xRow, rows } = range
    const out = g.tensor([rows, outFeatures(w)], "linear")
    applyMatrix(g, out, x, w, { xRow, rows })
    return { out, saved: { x: w instanceof Tensor && g.needs(w) ? x : new Routed(x), w, range } }
  },
  backward: (g, dy, { x, w, range }, into) => {
    const input = x instanceof Routed ? x.tensor : x
    const { start, rows } = range
    const dx = gradientOfRange(g, into, input, range)
    if (dx !== undefined) applyMatrixTransposed(g, dx.tensor, dy, w, { yRow: start, rows, accumulate: dx.accumulate })
    if (!(w instanceof Tensor)) return
    const dw = into(w)
    if (dw !== undefined) {
      const sizes = { m: w.rows, k: rows, n: w.columns, ta: true, bRow: start, accumulate: dw.accumulate }
      g.run(gemm, [dw.tensor, dy, input], { ...plainGemm, ...sizes })
    }
  }
})
