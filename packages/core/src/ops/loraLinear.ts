import { defineOp } from "../Op.ts"
import { doraNormKernel } from "../reference/dora.ts"
import { gemm, plainGemm } from "../reference/gemm.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import type { Weight } from "../Weight.ts"
import { type DropoutKey, dropout } from "./dropout.ts"
import { linear } from "./linear.ts"
import { addRows, scaleColumns, sliceRows } from "./rows.ts"

/** a [rank, in], b [out, rank]; adapts rows [start, start + rows). */
export interface AdapterSegment {
  readonly start: number
  readonly rows: number
  readonly a: Tensor
  readonly b: Tensor
  readonly scale: number
  readonly dropout?: DropoutKey
}

/**
 * y = x Wᵀ + Σ_segments scale · drop(x) Aᵀ Bᵀ (arXiv:2106.09685 §4.1). A segment gives a range of rows to an adapter: mixed
 * batches, the adapter-off reference (no segment) and several adapters trained in one pass are the same call.
 */
export const loraLinear = defineOp(
  "loraLinear",
  (g: Graph, x: Tensor, w: Weight, segments: ReadonlyArray<AdapterSegment>): Tensor => {
    let y = linear(g, x, w)
    for (const { start, rows, a, b, scale, dropout: key } of segments) {
      const part = start === 0 && rows === x.rows ? x : sliceRows(g, x, start, rows)
      const down = linear(g, key === undefined ? part : dropout(g, part, key, start), a)
      y = addRows(g, y, linear(g, down, b), start, scale)
    }
    return y
  }
)

/**
 * ‖W + sBA‖ by row without a dequantised W: ‖W‖² + 2s·diag(B(AWᵀ)) + s²‖BA‖², and AWᵀ is one `apply` on the r rows of A. It
 * enqueues kernels, no ops: a constant to the tape, as DoRA wants it (arXiv:2402.09353 §4.3).
 */
export const doraNorm = (g: Graph, w: Weight, a: Tensor, b: Tensor, scale: number, rowNormsSquared: Tensor): Tensor => {
  const norm = g.tensor([w.outFeatures], "doraNorm", "f32")
  const aw = g.tensor([a.rows, w.outFeatures], "AWᵀ", "f32")
  const aa = g.tensor([a.rows, a.rows], "AAᵀ", "f32")
  w.apply(aw, a)
  g.run(gemm, [aa, a, a], { ...plainGemm, m: a.rows, k: a.columns, n: a.rows, tb: true })
  g.run(doraNormKernel, [norm, rowNormsSquared, b, aw, aa], { scale })
  for (const t of [aw, aa]) g.release(t)
  return norm
}
/** y = m / ‖W + sBA‖ · (W + sBA) x, from ops that exist. */
export const doraLinear = defineOp(
  "doraLinear",
  (g: Graph, x: Tensor, w: Weight, segment: AdapterSegment, magnitude: Tensor, norm: Tensor): Tensor =>
    scaleColumns(g, loraLinear(g, x, w, [segment]), magnitude, norm)
)
