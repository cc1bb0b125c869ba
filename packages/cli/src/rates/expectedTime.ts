/**
 * Seconds of a step from its arithmetic and the machine's kept rates. What weights, adapters and attention reach of the rate
 * of large products, and what is no product, are shares measured with SmolLM2-135M on two Zen 3 threads.
 */
import type { StepWork } from "../stack/workOfStep.ts"
import type { Rates } from "./keptRates.ts"

/** Products with A and B have a side of `rank` only. */
const ADAPTER_REACHES = 0.5
const ATTENTION_REACHES = 0.7
/** Norms, activations, sums, the optimiser: of the time of the products. */
const ALL_ELSE = 0.03
/** Decoding and packing a weight, once a pass and micro-batch, takes as long as multiplying so many tokens by it. */
const TOKENS_TO_DECODE = 20

/** In operations of large products: what orders the ways to run a step, on any machine. */
export const costOf = (work: StepWork, microBatches: number): number =>
  (work.weights +
    work.perToken * TOKENS_TO_DECODE * microBatches +
    work.adapter / ADAPTER_REACHES +
    work.attention / ATTENTION_REACHES) *
  (1 + ALL_ELSE)

/** Undefined where the rate of this format was not measured. */
export const secondsOf = (
  work: StepWork,
  microBatches: number,
  { products }: Rates,
  compute: "f32" | "bf16"
): number | undefined => {
  const rate = products[compute]
  return rate === undefined ? undefined : costOf(work, microBatches) / rate
}
