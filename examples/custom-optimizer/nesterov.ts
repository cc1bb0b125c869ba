/** SGD with Nesterov's momentum (Sutskever et al. 2013): v ← μ·v + g, w ← w − rate · (g + μ·v + decay·w). */
import { fill, type Kernel, type MakeOptimizer, makePart, Optimizer, pieceOf } from "@graft/core"
import { Effect, Layer } from "effect"

interface Step {
  readonly rate: number
  readonly momentum: number
  readonly decay: number
}
/** Operands w, v, g f32 of one size, control f32 [4] = (factor of the gradients, finite, steps applied, norm). */
const kernel: Kernel<Step> = {
  name: "nesterov",
  outputs: 2,
  inPlace: [0, 1],
  fields: ["rate", "momentum", "decay"],
  dtypes: ["f32", "f32", "f32", "f32"],
  check: ([w, v, g]) => (w!.size !== v!.size || w!.size !== g!.size) && "sizes differ",
  reference: ([w, v, g, control], { rate, momentum, decay }) => {
    if (control![1] === 0) return // a step that is not finite changes nothing
    for (let i = 0; i < w!.length; i++) {
      const d = g![i]! * control![0]!
      v![i] = momentum * v![i]! + d
      w![i] = w![i]! - rate * (d + momentum * v![i]! + decay * w![i]!)
    }
  }
}
export const nesterov =
  (momentum: number, decay = 0): MakeOptimizer =>
  (queue, scope, ranges) => {
    const velocities = ranges.map(({ flat, group }) => {
      const v = scope.tensor(flat.shape, `${group} velocity`, "f32", "optimizer")
      queue.enqueue(fill, [v], { value: 0 })
      return v
    })
    return {
      pieces: velocities.map((v, i) => pieceOf(queue, `${i}.velocity`, v)),
      update: (control, rate) => {
        for (const [i, { flat, gradients, decays }] of ranges.entries()) {
          const step = { rate, momentum, decay: decays ? decay : 0 }
          queue.enqueue(kernel, [flat, velocities[i]!, gradients, control], step)
        }
      }
    }
  }
export const layer: Layer.Layer<Optimizer> = Layer.effect(
  Optimizer,
  Effect.map(makePart("Nesterov"), (part) => ({ part, make: nesterov(0.9) }))
)
