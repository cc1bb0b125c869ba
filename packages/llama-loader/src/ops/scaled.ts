/** y = scale · x */
import { addInto, definePrimitive, Routed, type Tensor } from "@graft/core"

export const scaled = definePrimitive("scaled", {
  forward: (g, x: Tensor, scale: number) => {
    const out = g.tensor(x.shape, "scaled")
    addInto(g, out, x, { scale })
    return { out, saved: { x: new Routed(x), scale } }
  },
  backward: (g, dy, { x, scale }, into) => {
    const dx = into(x.tensor)
    if (dx !== undefined) addInto(g, dx.tensor, dy, { scale, accumulate: dx.accumulate })
  }
})
