import { definePrimitive, Routed } from "../Op.ts"
import { gemm, plainGemm } from "../reference/gemm.ts"
import type { Graph } from "../Tape.ts"
import { Tensor } from "../Tensor.ts"
import type { Weight } from "../Weight.ts"

/** A matrix [out, in]: a frozen operator, or a tensor that is trained. */
export type Matrix = Weight | Tensor
export const outFeatures = (w: Matrix): number => (w instanceof Tensor ? w.rows : w.outFeatures)
export const inFeatures = (w: Matrix): number => (w instanceof Tensor ? w.columns : w.inFeatures)

interface Rows {
  readonly xRow?: number
  readonly yRow?: number
  readonly rows?: number
  readonly accumulate?: boolean
}
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

/** y [tokens, out] = x [tokens, in] wᵀ; w [out, in] frozen or trained. A frozen one keeps nothing of x. */
export const linear = definePrimitive("linear", {
  forward: (g, x: Tensor, w: Matrix) => {
    if (x.columns !== inFeatures(w)) {
      throw new TypeError(
        `linear: x is [${x.shape}] but w is [${outFeatures(w)}, ${inFeatures(w)}]: inner sizes differ`
      )
    }
    const out = g.tensor([x.rows, outFeatures(w)], "linear")
    applyMatrix(g, out, x, w)
    return { out, saved: { x: w instanceof Tensor && g.needs(w) ? x : new Routed(x), w } }
  },
  backward: (g, dy, { x, w }, into) => {
    const input = x instanceof Routed ? x.tensor : x
    const dx = into(input)
    if (dx !== undefined) applyMatrixTransposed(g, dx.tensor, dy, w, { accumulate: dx.accumulate })
    if (!(w instanceof Tensor)) return
    const dw = into(w)
    if (dw !== undefined) {
      const { tensor, accumulate } = dw
      g.run(gemm, [tensor, dy, input], { ...plainGemm, m: w.rows, k: input.rows, n: w.columns, ta: true, accumulate })
    }
  }
})
