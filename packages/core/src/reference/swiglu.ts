import type { Kernel } from "../Queue.ts"

/** y, gate, up; dGate, dUp, dy, gate, up; and dGate, dUp, y, dy, gate, up. Any output may be any of the inputs. */
export interface GatedKernels {
  readonly forward: Kernel<null>
  readonly backward: Kernel<null>
  /** With y once more, for which it reads nothing more. */
  readonly backwardWithY: Kernel<null>
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
/** y = gate · σ(gate) · up (arXiv:2002.05202). */
export const swigluKernel: Kernel<null> = {
  name: "swiglu",
  outputs: 1,
  fields: [],
  dtypes: ["act", "act", "act"],
  check: ([, gate, up]) => gate!.size !== up!.size && "gate and up differ",
  reference: ([y, gate, up]) => {
    for (let i = 0; i < y!.length; i++) y![i] = gate![i]! * sigmoid(gate![i]!) * up![i]!
  }
}
/** With s = σ(gate):  dGate = dy · up · s · (1 + gate · (1 − s)),  dUp = dy · gate · s */
export const swigluBackward: Kernel<null> = {
  name: "swigluBackward",
  outputs: 2,
  fields: [],
  dtypes: ["act", "act", "act", "act", "act"],
  reference: ([dGate, dUp, dy, gate, up]) => {
    for (let i = 0; i < dGate!.length; i++) {
      const x = gate![i]!
      const s = sigmoid(x)
      const d = dy![i]! // read before the outputs are written, which may be any of the inputs
      dGate![i] = d * up![i]! * s * (1 + x * (1 - s))
      dUp![i] = d * x * s
    }
  }
}
/** The same, and y once more. */
export const swigluBackwardWithY: Kernel<null> = {
  name: "swigluBackwardWithY",
  outputs: 3,
  fields: [],
  dtypes: ["act", "act", "act", "act", "act", "act"],
  reference: ([dGate, dUp, y, dy, gate, up]) => {
    for (let i = 0; i < dGate!.length; i++) {
      const x = gate![i]!
      const s = sigmoid(x)
      const [d, v] = [dy![i]!, up![i]!]
      dGate![i] = d * v * s * (1 + x * (1 - s))
      dUp![i] = d * x * s
      y![i] = x * s * v
    }
  }
}
export const swigluKernels: GatedKernels = {
  forward: swigluKernel,
  backward: swigluBackward,
  backwardWithY: swigluBackwardWithY
}
