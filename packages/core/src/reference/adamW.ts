/** AdamW with its state in memory: the reference optimiser, which paged and 8-bit ones are compared with. */
import { Effect, Layer, Schema } from "effect"
import { decodeOptions, Fraction, NonNegative, withDefault } from "../decodeOptions.ts"
import type { BadOptions } from "../errors.ts"
import { type MakeOptimizer, pieceOf } from "../Optimizer.ts"
import { makePart } from "../Parts.ts"
import { Optimizer } from "../services.ts"
import type { Tensor } from "../Tensor.ts"
import { adamWKernel } from "./optimizer.ts"
import { fill } from "./rows.ts"

export interface AdamWOptions {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
  /** A factor of the learning rate by group: LoRA+ gives B more than A (arXiv:2402.12354). */
  readonly groupFactors: Readonly<Record<string, number>>
}
/** AdamW as torch.optim.AdamW computes it (arXiv:1711.05101), 8 bytes of state a parameter. */
export const adamW =
  (options: AdamWOptions): MakeOptimizer =>
  (queue, scope, ranges) => {
    const zeros = (name: string, like: Tensor) => {
      const t = scope.tensor(like.shape, name, "f32", "optimizer")
      queue.enqueue(fill, [t], { value: 0 })
      return t
    }
    const states = ranges.map((range) => ({
      range,
      m: zeros(`${range.group} exp_avg`, range.flat),
      v: zeros(`${range.group} exp_avg_sq`, range.flat)
    }))
    const { beta1, beta2, epsilon } = options
    return {
      pieces: states.flatMap(({ range: { group, decays }, m, v }, i) => [
        pieceOf(queue, `${i}.${group}.${decays}.exp_avg`, m),
        pieceOf(queue, `${i}.${group}.${decays}.exp_avg_sq`, v)
      ]),
      update: (control, rate) => {
        for (const { range, m, v } of states) {
          queue.enqueue(adamWKernel, [range.flat, m, v, range.gradients, control], {
            learningRate: rate * (options.groupFactors[range.group] ?? 1),
            beta1,
            beta2,
            epsilon,
            weightDecay: range.decays ? options.weightDecay : 0
          })
        }
      }
    }
  }

const Options = Schema.Struct({
  beta1: withDefault(Fraction, 0.9),
  beta2: withDefault(Fraction, 0.999),
  epsilon: withDefault(NonNegative, 1e-8),
  weightDecay: withDefault(NonNegative, 0),
  /** Learning-rate factor by parameter group, e.g. { lora_B: 16 } for LoRA+. */
  groupFactors: withDefault(Schema.Record(Schema.String, NonNegative), {})
})
const decodeAdamW = decodeOptions("AdamW", Options)
export const AdamW = {
  layer: (options: typeof Options.Encoded = {}): Layer.Layer<Optimizer, BadOptions> =>
    Layer.effect(
      Optimizer,
      Effect.gen(function* () {
        const decoded = yield* decodeAdamW(options)
        return { part: yield* makePart("AdamW"), make: adamW(decoded), rule: `AdamW ${JSON.stringify(decoded)}` }
      })
    )
}
