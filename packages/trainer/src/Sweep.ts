/**
 * Several adapters in one pass: each has its own parameters, moments and rate, all lie over one frozen base, which is loaded
 * once. Each is trained to the bits that it would have alone.
 */
import { type AdapterPlan, makePart, type Part } from "@graft/core"
import { Context, Effect, Layer } from "effect"

export interface Variant {
  /** Names its events, and its folder beside the others. */
  readonly name: string
  /** Left out: the trainer's. */
  readonly learningRate?: number
  /** Left out: that of the `Adapter` service. */
  readonly adapter?: AdapterPlan
}
export interface SweepService {
  readonly part?: Part["part"]
  readonly variants: ReadonlyArray<Variant>
}
/** What is trained instead of the one adapter; nothing unless a layer says so. */
export class Sweep extends Context.Reference<SweepService>("@graft/trainer/Sweep", {
  defaultValue: () => ({ variants: [] })
}) {
  static readonly layer = (
    variants: ReadonlyArray<Variant>,
    /** Parts that the variants' adapters are made of. */
    ...uses: ReadonlyArray<Part>
  ): Layer.Layer<never> =>
    Layer.effect(
      Sweep,
      Effect.map(makePart(`sweep over ${variants.map(({ name }) => name).join(", ")}`, ...uses), (part) => ({
        part,
        variants
      }))
    )
}
