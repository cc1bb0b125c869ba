/**
 * Arithmetic of a training step, from shapes alone: 2 operations a weight and token forward, as many for the gradient of
 * the input, as many again where the weight itself is trained or the layer is computed anew. Attention over L tokens takes
 * 2 L² operations a channel forward (half of the square is masked; a window of w keys leaves 2 w (2 L − w)) and 2.5 times that
 * backward.
 */
import type { MicroBatch, ModelDescription } from "@graft/core"
import type { LlamaConfig } from "@graft/llama-loader"

export interface WorkOptions {
  readonly trainsBase: boolean
  readonly checkpointing: boolean
  readonly trainableParameters: number
}

/** Floating-point operations of one step. */
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
  { trainsBase, checkpointing, trainableParameters }: WorkOptions
): number => {
  const inLayers = linears.reduce((n, { outFeatures, inFeatures }) => n + outFeatures * inFeatures, 0)
  const head = vocabularySize * hiddenSize
  const again = checkpointing ? 1 : 0
  const passes = 2 + again + (trainsBase ? 1 : 0)
  const adapter = trainsBase ? 0 : 2 * trainableParameters * (3 + again)
  const perToken = 2 * (inLayers * passes + head * (trainsBase ? 3 : 2)) + adapter
  const sliding = window === undefined ? 0 : (slidingLayers?.filter((slides) => slides).length ?? layers)
  let work = 0
  for (const { ids } of micro.flat()) {
    const length = ids.length
    const w = Math.min(window ?? length, length)
    const perChannel = (layers - sliding) * 2 * length ** 2 + sliding * 2 * w * (2 * length - w)
    work += perToken * length + perChannel * queryWidth * (3.5 + again)
  }
  return work
}
