import { definePrimitive } from "../Op.ts"
import { swigluBackward, swigluKernel } from "../reference/swiglu.ts"
import type { Tensor } from "../Tensor.ts"
import { writeTogether } from "./writeTogether.ts"

/** y = silu(gate) · up (arXiv:2002.05202). */
export const swiglu = definePrimitive("swiglu", {
  forward: (g, gate: Tensor, up: Tensor) => {
    const out = g.tensor(gate.shape, "swiglu")
    const run = (y: Tensor) => g.run(swigluKernel, [y, gate, up], null)
    run(out)
    return { out, saved: { gate, up }, again: { from: [gate, up], run } }
  },
  backward: (g, dy, { gate, up }, into) =>
    writeTogether(g, into, [gate, up], (outputs) => g.run(swigluBackward, [...outputs, dy, gate, up], null))
})
