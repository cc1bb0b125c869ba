/**
 * Arithmetic of a training step, from shapes alone: 2 operations a weight and token forward, as many for the gradient of
 * the input, as many again where the weight itself is trained. A layer that is computed anew multiplies once more by all its
 * linears but the last, whose output nobody reads. Attention over L tokens takes 2 L² operations a channel forward (half of
 * the square is masked; a window of w keys leaves 2 w (2 L − w)) and 2.5 times that backward.
 */
import { type MicroBatch, type ModelDescription, tokensIn } from "@graft/core"
import type { LlamaConfig } from "@graft/llama-loader"

export interface WorkOptions {
  readonly trainsBase: boolean
  /** All layers are computed anew in backward, or so many. */
  readonly checkpointing: boolean | number
  /** Layers whose attention is computed anew; left out: those. */
  readonly attentionAgain?: number | undefined
  readonly trainableParameters: number
  /** Of embedding and head, how many an adapter run trains whole, and whether the head is among them. */
  readonly whole?: { readonly matrices: number; readonly head: boolean }
}
/** Floating-point operations of one step. */
export interface StepWork {
  /** Products with the weights of the model, the head among them. */
  readonly weights: number
  readonly adapter: number
  readonly attention: number
  /** Of `weights`, what one token takes: a micro-batch costs as much as some tokens more. */
  readonly perToken: number
}

export const totalOf = ({ weights, adapter, attention }: StepWork): number => weights + adapter + attention

export const workOfStep = (
  { linears }: Pick<ModelDescription, "linears">,
  {
    vocabularySize,
    hiddenSize,
    queryWidth,
    layers,
    window,
    slidingLayers
  }: Pick<LlamaConfig, "vocabularySize" | "hiddenSize" | "queryWidth" | "layers" | "window" | "slidingLayers">,
  micro: ReadonlyArray<MicroBatch>,
  { trainsBase, checkpointing, attentionAgain, trainableParameters, whole = { matrices: 0, head: false } }: WorkOptions
): StepWork => {
  const sizeOf = (linear: ModelDescription["linears"][number] | undefined): number =>
    linear === undefined ? 0 : linear.outFeatures * linear.inFeatures
  const inLayers = linears.reduce((n, linear) => n + sizeOf(linear), 0)
  const head = vocabularySize * hiddenSize
  const again = (checkpointing === true ? layers : Math.min(layers, Number(checkpointing))) / layers
  const attendedAgain = attentionAgain === undefined ? again : Math.min(layers, attentionAgain) / layers
  const inLayersAgain = again * (inLayers - layers * sizeOf(linears.at(-1)))
  const trained = trainsBase ? 1 : 0
  const perToken = 2 * (inLayers * (2 + trained) + inLayersAgain + head * (2 + trained))
  // A lookup multiplies nothing; the head's own gradient is one product more.
  const inAdapters = trainableParameters - whole.matrices * head
  const adapter = trainsBase ? 0 : 2 * inAdapters * (3 + again) + (whole.head ? 2 * head : 0)
  const sliding = window === undefined ? 0 : (slidingLayers?.filter((slides) => slides).length ?? layers)
  let [weights, beside, attention] = [0, 0, 0]
  for (const { ids } of micro.flat()) {
    weights += perToken * ids.length
    beside += adapter * ids.length
    const length = ids.length
    const w = Math.min(window ?? length, length)
    const perChannel = (layers - sliding) * 2 * length ** 2 + sliding * 2 * w * (2 * length - w)
    attention += perChannel * queryWidth * (3.5 + attendedAgain)
  }
  return { weights, adapter: beside, attention, perToken }
}

export interface AverageStep {
  readonly work: StepWork
  readonly microBatches: number
  readonly tokens: number
}
/** Of steps that differ in the lengths of their rows. */
export const averageOf = (
  steps: ReadonlyArray<ReadonlyArray<MicroBatch>>,
  workOf: (micro: ReadonlyArray<MicroBatch>) => StepWork
): AverageStep => {
  let [weights, adapter, attention, perToken, microBatches, tokens] = [0, 0, 0, 0, 0, 0]
  for (const micro of steps) {
    const work = workOf(micro)
    weights += work.weights / steps.length
    adapter += work.adapter / steps.length
    attention += work.attention / steps.length
    perToken = work.perToken
    microBatches += micro.length / steps.length
    tokens += tokensIn(micro.flat()) / steps.length
  }
  return { work: { weights, adapter, attention, perToken }, microBatches, tokens }
}
