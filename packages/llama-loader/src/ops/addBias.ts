/** y [tokens, n] = x + b, b [n] frozen or trained. An adapter's linear lies below it, so that no adapter knows of biases. */
import { addColumnsKernel, addInto, columnSumsKernel, definePrimitive, Routed, type Tensor } from "@graft/core"

export const addBias = definePrimitive("addBias", {
  forward: (g, x: Tensor, b: Tensor) => {
    const out = g.tensor(x.shape, "addBias")
    g.run(addColumnsKernel, [out, x, b], null)
    return { out, saved: { x: new Routed(x), b: new Routed(b) } }
  },
  backward: (g, dy, { x, b }, into) => {
    const db = into(b.tensor)
    if (db !== undefined) g.run(columnSumsKernel, [db.tensor, dy], { accumulate: db.accumulate })
    if (into.pass(x.tensor, dy)) return
    const dx = into(x.tensor)
    if (dx !== undefined) addInto(g, dx.tensor, dy, { accumulate: dx.accumulate })
  }
})
