/** 1 + w in f32, w [n]: the gain of a norm whose weight says how far from 1 it is, while that weight is trained (Gemma). */
import { add, addInto, definePrimitive, fill, Routed, type Tensor } from "@graft/core"

export const shiftedGain = definePrimitive("shiftedGain", {
  forward: (g, w: Tensor) => {
    const out = g.tensor(w.shape, "1 + w", "f32")
    g.run(fill, [out], { value: 1 })
    g.run(add, [out, out, w], { scale: 1 })
    return { out, saved: { w: new Routed(w) } }
  },
  backward: (g, dy, { w }, into) => {
    const dw = into(w.tensor)
    if (dw !== undefined) addInto(g, dw.tensor, dy, { accumulate: dw.accumulate })
  }
})
