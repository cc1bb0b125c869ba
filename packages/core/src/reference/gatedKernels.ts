import type { Kernel } from "../Queue.ts"

/** y, gate, up; dGate, dUp, dy, gate, up; and dGate, dUp, y, dy, gate, up. Any output may be any of the inputs. */
export interface GatedKernels {
  readonly forward: Kernel<null>
  readonly backward: Kernel<null>
  /** With y once more, for which it reads nothing more. */
  readonly backwardWithY: Kernel<null>
}

/**
 * y = f(gate) · up,  dGate = dy · up · f′(gate),  dUp = dy · f(gate), element by element (arXiv:2002.05202). `at(x)` is f and f′
 * at x.
 */
export const gatedKernels = (name: string, at: (x: number) => readonly [f: number, slope: number]): GatedKernels => ({
  forward: {
    name,
    outputs: 1,
    fields: [],
    dtypes: ["act", "act", "act"],
    check: ([, gate, up]) => gate!.size !== up!.size && "gate and up differ",
    reference: ([y, gate, up]) => {
      for (let i = 0; i < y!.length; i++) y![i] = at(gate![i]!)[0] * up![i]!
    }
  },
  backward: {
    name: `${name}Backward`,
    outputs: 2,
    fields: [],
    dtypes: ["act", "act", "act", "act", "act"],
    reference: ([dGate, dUp, dy, gate, up]) => {
      for (let i = 0; i < dGate!.length; i++) {
        const [f, slope] = at(gate![i]!)
        const d = dy![i]! // read before the outputs are written, which may be any of the inputs
        dGate![i] = d * up![i]! * slope
        dUp![i] = d * f
      }
    }
  },
  backwardWithY: {
    name: `${name}BackwardWithY`,
    outputs: 3,
    fields: [],
    dtypes: ["act", "act", "act", "act", "act", "act"],
    reference: ([dGate, dUp, y, dy, gate, up]) => {
      for (let i = 0; i < dGate!.length; i++) {
        const [f, slope] = at(gate![i]!)
        const [d, v] = [dy![i]!, up![i]!]
        dGate![i] = d * v * slope
        dUp![i] = d * f
        y![i] = f * v
      }
    }
  }
})
