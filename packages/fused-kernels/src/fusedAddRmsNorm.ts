/**
 * The fused pair for `addRmsNorm`: h = x + y and n = h / rms(h) · w, both [tokens, hidden], in one pass.
 *
 *   r = 1 / rms(h)        d = dh + r · (dn · w − h · r² · Σ(dn · w · h) / hidden)        dx = dy = d
 *
 * Against addRows and rmsNorm it saves a reading of h forwards; backwards the norm's share is added where dh lies, which
 * becomes the gradient of x and of y, without a copy for either. n is computed again for whoever reads it later. The composed
 * twin is core's ops/rmsNorm.ts.
 */
import {
  addInto,
  addRmsNorm,
  addRmsNormKernel,
  addTo,
  override,
  Routed,
  rmsNormBackwardW,
  rmsNormBackwardX,
  rmsNormKernel,
  type Tensor
} from "@graft/core"

export const fusedAddRmsNorm = override(addRmsNorm, {
  forward: (g, x, y, w, epsilon) => {
    const [h, normed] = [g.tensor(x.shape, "residual"), g.tensor(x.shape, "rmsNorm")]
    g.run(addRmsNormKernel, [h, normed, x, y, w], { epsilon })
    const run = (out: Tensor) => g.run(rmsNormKernel, [out, h, w], { epsilon })
    const saved = { x: new Routed(x), y: new Routed(y), h, w, epsilon }
    return { out: [h, normed], saved, again: { of: normed, from: [h, w], run } }
  },
  backward: (g, [dh, dNormed], { x, y, h, w, epsilon }, into) => {
    const passed = dh !== undefined && into.pass(x.tensor, dh)
    let d = dh
    if (dNormed !== undefined && (g.needs(x.tensor) || g.needs(y.tensor))) {
      if (!passed) d = g.tensor(h.shape, "d(residual)")
      if (d !== dh && dh !== undefined) addInto(g, d!, dh)
      g.run(rmsNormBackwardX, [d!, dNormed, h, w], { epsilon, accumulate: dh !== undefined })
    }
    const dw = dNormed === undefined ? undefined : into(w)
    if (dw !== undefined) g.run(rmsNormBackwardW, [dw.tensor, dNormed!, h], { epsilon, accumulate: dw.accumulate })
    if (d === undefined) return
    const shared = into.share(y.tensor, d)
    if (!shared) addTo(g, into(y.tensor), d)
    if (passed || into.share(x.tensor, d)) return
    addTo(g, into(x.tensor), d)
    if (d !== dh && !shared) g.release(d)
  }
})
