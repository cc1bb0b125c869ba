import { defineOp, definePrimitive } from "../Op.ts"
import { rmsNormBackwardW, rmsNormBackwardX, rmsNormKernel } from "../reference/normalization.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import { addRows } from "./rows.ts"

/** y = x / rms(x) · w; x [tokens, hidden], w [hidden] (arXiv:1910.07467). */
export const rmsNorm = definePrimitive("rmsNorm", {
  forward: (g, x: Tensor, w: Tensor, epsilon: number) => {
    const out = g.tensor(x.shape, "rmsNorm")
    const run = (y: Tensor) => g.run(rmsNormKernel, [y, x, w], { epsilon })
    run(out)
    return { out, saved: { x, w, epsilon }, again: { from: [x, w], run } }
  },
  backward: (g, dy, { x, w, epsilon }, into) => {
    const dx = into(x)
    if (dx !== undefined) g.run(rmsNormBackwardX, [dx.tensor, dy, x, w], { epsilon, accumulate: dx.accumulate })
    const dw = into(w)
    if (dw !== undefined) g.run(rmsNormBackwardW, [dw.tensor, dy, x], { epsilon, accumulate: dw.accumulate })
  }
})

/** h = x + y and rmsNorm(h): where a residual stream is read next. */
export const addRmsNorm = defineOp(
  "addRmsNorm",
  (g: Graph, x: Tensor, y: Tensor, w: Tensor, epsilon: number): readonly [h: Tensor, normed: Tensor] => {
    const h = addRows(g, x, y, 0, 1)
    return [h, rmsNorm(g, h, w, epsilon)]
  }
)
