import type { Kernel } from "../Queue.ts"
import type { GatedKernels } from "./swiglu.ts"

const SLOPE = 2 * Math.sqrt(2 / Math.PI)
const CUBE = 0.044715
/** σ(2u) with u = √(2/π) · (x + 0.044715 x³): ½(1 + tanh u) without the cancellation at large negative x. */
const share = (x: number): number => 1 / (1 + Math.exp(-SLOPE * (x + CUBE * x ** 3)))

/** y = gelu(gate) · up with gelu(x) ≈ ½ x (1 + tanh u), as Gemma has it (gelu_pytorch_tanh; arXiv:1606.08415, arXiv:2002.05202). */
export const gegluKernel: Kernel<null> = {
  name: "geglu",
  outputs: 1,
  fields: [],
  dtypes: ["act", "act", "act"],
  check: ([, gate, up]) => gate!.size !== up!.size && "gate and up differ",
  reference: ([y, gate, up]) => {
    for (let i = 0; i < y!.length; i++) y![i] = gate![i]! * share(gate![i]!) * up![i]!
  }
}
/** With s = σ(2u):  dGate = dy · up · (s + gate · s · (1 − s) · 2u′),  dUp = dy · gate · s,  u′ = √(2/π) · (1 + 3 · 0.044715 gate²) */
export const gegluBackward: Kernel<null> = {
  name: "gegluBackward",
  outputs: 2,
  fields: [],
  dtypes: ["act", "act", "act", "act", "act"],
  reference: ([dGate, dUp, dy, gate, up]) => {
    for (let i = 0; i < dGate!.length; i++) {
      const x = gate![i]!
      const s = share(x)
      const d = dy![i]! // read before the outputs are written, which may be any of the inputs
      dGate![i] = d * up![i]! * (s + x * s * (1 - s) * SLOPE * (1 + 3 * CUBE * x ** 2))
      dUp![i] = d * x * s
    }
  }
}
/** The same, and y once more. */
export const gegluBackwardWithY: Kernel<null> = {
  name: "gegluBackwardWithY",
  outputs: 3,
  fields: [],
  dtypes: ["act", "act", "act", "act", "act", "act"],
  reference: ([dGate, dUp, y, dy, gate, up]) => {
    for (let i = 0; i < dGate!.length; i++) {
      const x = gate![i]!
      const s = share(x)
      const [d, v] = [dy![i]!, up![i]!]
      dGate![i] = d * v * (s + x * s * (1 - s) * SLOPE * (1 + 3 * CUBE * x ** 2))
      dUp![i] = d * x * s
      y![i] = x * s * v
    }
  }
}
export const gegluKernels: GatedKernels = {
  forward: gegluKernel,
  backward: gegluBackward,
  backwardWithY: gegluBackwardWithY
}
