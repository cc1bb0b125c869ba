/** DoRA (arXiv:2402.09353): LoRA of which each row's length is trained apart, by ops and kernels that core has. */
import {
  type AdapterSegment,
  defineOp,
  doraNormKernel,
  type Graph,
  gemm,
  loraLinear,
  plainGemm,
  scaleColumns,
  type Tensor,
  type Weight
} from "@graft/core"

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
