/** The rules of the package's optimisers: their kernels, and their numbers by group of parameters. */
import type { TrainedRange } from "@graft/core"
import type { UpdateRule } from "./pagedOptimizer.ts"
import {
  type AdamParams,
  adam8,
  adam32,
  type LionParams,
  lion8,
  lion32,
  type SgdParams,
  sgd8,
  sgd32
} from "./updateKernels.ts"

export interface GroupOptions {
  readonly weightDecay: number
  /** Factors of the learning rate by group: LoRA+ gives B more than A (arXiv:2402.12354). */
  readonly groupFactors: Readonly<Record<string, number>>
}
const ofGroup = ({ group, decays }: TrainedRange, learningRate: number, options: GroupOptions) => ({
  learningRate: learningRate * (options.groupFactors[group] ?? 1),
  weightDecay: decays ? options.weightDecay : 0
})

export interface AdamOptions extends GroupOptions {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
}
const adam =
  (name: string, decoupled: boolean) =>
  (options: AdamOptions): UpdateRule<AdamParams> => {
    const { beta1, beta2, epsilon } = options
    return {
      name,
      groups: Object.keys(options.groupFactors),
      states: 2,
      kernels: { 8: adam8, 32: adam32 },
      params: (range, rate) => ({ ...ofGroup(range, rate, options), beta1, beta2, epsilon, decoupled })
    }
  }
export const adamWRule = adam("AdamW", true)
export const adamRule = adam("Adam", false)

export interface LionOptions extends GroupOptions {
  readonly beta1: number
  readonly beta2: number
}
export const lionRule = (options: LionOptions): UpdateRule<LionParams> => {
  const { beta1, beta2 } = options
  return {
    name: "Lion",
    groups: Object.keys(options.groupFactors),
    states: 1,
    kernels: { 8: lion8, 32: lion32 },
    params: (range, rate) => ({ ...ofGroup(range, rate, options), beta1, beta2 })
  }
}
export interface SgdOptions extends GroupOptions {
  readonly momentum: number
}
export const sgdRule = (options: SgdOptions): UpdateRule<SgdParams> => ({
  name: "SGD",
  groups: Object.keys(options.groupFactors),
  states: 1,
  kernels: { 8: sgd8, 32: sgd32 },
  params: (range, rate) => ({ ...ofGroup(range, rate, options), momentum: options.momentum })
})
