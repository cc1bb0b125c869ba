/** Every tensor that a model of this description must have, by Hugging Face's name (transformers, models/). */
import { architectureOf } from "../architectures/known.ts"
import { modulesOf } from "../block/shapesOf.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"

export interface ExpectedTensor {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  /** A linear's matrix: what a quantised checkpoint may store in another shape. */
  readonly linear: boolean
  /** What it holds before any training, as transformers initialises it: small random numbers, or one number everywhere. */
  readonly begins: "random" | 0 | 1
}

export function* expectedTensors(config: LlamaConfig): Generator<ExpectedTensor> {
  const { hiddenSize, vocabularySize } = config
  const { block, shiftedNorms } = architectureOf(config)
  const gain = { linear: false, begins: shiftedNorms ? 0 : 1 } as const
  const matrix = { linear: true, begins: "random" } as const
  const modules = modulesOf(block, config)
  yield { name: "model.embed_tokens.weight", shape: [vocabularySize, hiddenSize], linear: false, begins: "random" }
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`
    for (const one of modules) {
      const path = `${at}.${one.module}`
      if ("width" in one) yield { name: `${path}.weight`, shape: [one.width], ...gain }
      else {
        yield { name: `${path}.weight`, shape: [one.outFeatures, one.inFeatures], ...matrix }
        if (one.bias) yield { name: `${path}.bias`, shape: [one.outFeatures], linear: false, begins: 0 }
      }
    }
  }
  yield { name: "model.norm.weight", shape: [hiddenSize], ...gain }
  if (!config.tieWordEmbeddings) yield { name: "lm_head.weight", shape: [vocabularySize, hiddenSize], ...matrix }
}
