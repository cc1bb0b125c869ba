import { definePrimitive, type Op } from "../Op.ts"
import type { Kernel } from "../Queue.ts"
import { gegluBackward, gegluKernel } from "../reference/geglu.ts"
import { swigluBackward, swigluKernel } from "../reference/swiglu.ts"
import type { Tensor } from "../Tensor.ts"
import { writeTogether } from "./writeTogether.ts"

/** y = f(gate) · up, element by element (arXiv:2002.05202). A gradient may be written over what it is of. */
export interface GatedUnit extends Op<[gate: Tensor, up: Tensor]> {
  /** y, gate, up; and dGate, dUp, dy, gate, up. */
  readonly kernels: { readonly forward: Kernel<null>; readonly backward: Kernel<null> }
}
const gatedUnit = (name: string, forward: Kernel<null>, backward: Kernel<null>): GatedUnit => {
  const op = definePrimitive(name, {
    forward: (g, gate: Tensor, up: Tensor) => {
      const out = g.tensor(gate.shape, name)
      const run = (y: Tensor) => g.run(forward, [y, gate, up], null)
      run(out)
      return { out, saved: { gate, up }, again: { from: [gate, up], run } }
    },
    backward: (g, dy, { gate, up }, into) =>
      writeTogether(g, into, [gate, up], (outputs) => g.run(backward, [...outputs, dy, gate, up], null))
  })
  return Object.assign(op, { kernels: { forward, backward } })
}
/** f = silu: Llama, Mistral, Qwen. */
export const swiglu = gatedUnit("swiglu", swigluKernel, swigluBackward)
/** f = gelu, approximated by tanh: Gemma. */
export const geglu = gatedUnit("geglu", gegluKernel, gegluBackward)
