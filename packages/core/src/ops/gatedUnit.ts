import { definePrimitive, type Op } from "../Op.ts"
import type { GatedKernels } from "../reference/gatedKernels.ts"
import { gegluKernels } from "../reference/geglu.ts"
import { swigluKernels } from "../reference/swiglu.ts"
import type { Tensor } from "../Tensor.ts"
import { writeTogether } from "./writeTogether.ts"

/** y = f(gate) · up, element by element (arXiv:2002.05202). A gradient may be written over what it is of. */
export interface GatedUnit extends Op<[gate: Tensor, up: Tensor]> {
  readonly kernels: GatedKernels
}
const gatedUnit = (name: string, kernels: GatedKernels): GatedUnit => {
  const op = definePrimitive(name, {
    forward: (g, gate: Tensor, up: Tensor) => {
      const out = g.tensor(gate.shape, name)
      const run = (y: Tensor) => g.run(kernels.forward, [y, gate, up], null)
      run(out)
      return { out, saved: { gate, up }, again: { from: [gate, up], run } }
    },
    backward: (g, dy, { gate, up }, into) =>
      writeTogether(g, into, [gate, up], (outputs) => g.run(kernels.backward, [...outputs, dy, gate, up], null))
  })
  return Object.assign(op, { kernels })
}
/** f = silu: Llama, Mistral, Qwen. */
export const swiglu = gatedUnit("swiglu", swigluKernels)
/** f = gelu, approximated by tanh: Gemma. */
export const geglu = gatedUnit("geglu", gegluKernels)
