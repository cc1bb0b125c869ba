import { definePrimitive } from "../Op.ts"
import { denseKernels } from "../reference/denseCodec.ts"
import { gatherGradient } from "../reference/embedding.ts"
import { Tensor } from "../Tensor.ts"
import { inFeatures, type Matrix } from "./linear.ts"

/**
 * out [tokens, hidden] = rows `ids` of w [vocabulary, hidden], frozen or trained. dw[ids[t]] += dy[t] is written where the
 * gradient lies, also onto that of a tied head: no one-hot product, no [vocabulary, hidden] of its own.
 */
export const embedding = definePrimitive("embedding", {
  forward: (g, w: Matrix, ids: Tensor) => {
    const out = g.tensor([ids.size, inFeatures(w)], "embedding")
    if (w instanceof Tensor) g.run(denseKernels.gatherRows, [out, ids, w], { out: w.rows, in: w.columns })
    else w.gatherRows(out, ids)
    return { out, saved: { w, ids } }
  },
  backward: (g, dy, { w, ids }, into) => {
    if (!(w instanceof Tensor)) return
    const dw = into(w)
    if (dw !== undefined) g.run(gatherGradient, [dw.tensor, dy, ids], { accumulate: dw.accumulate })
  }
})
