/** Every tensor that a model of this description must have, by Hugging Face's name (transformers, models/). */
import { architectureOf } from "../architectures/known.ts"
import { linearsOf, normsOf } from "../block/shapesOf.ts"
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
  const [norms, linears] = [normsOf(block, config), linearsOf(block, config)]
  yield { name: "model.embed_tokens.weight", shape: [vocabularySize, hiddenSize], linear: false, begins: "random" }
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`
    for (const { module, width } of norms) yield { name: `${at}.${module}.weight`, shape: [width], ...gain }
    for (const { module, outFeatures, inFeatures, bias } of linears) {
      yield { name: `${at}.${module}.weight`, shape: [outFeatures, inFeatures], ...matrix }
      if (bias) yield { name: `${at}.${module}.bias`, shape: [outFeatures], linear: false, begins: 0 }
    }
  }
  yield { name: "model.norm.weight", shape: [hiddenSize], ...gain }
  if (!config.tieWordEmbeddings) yield { name: "lm_head.weight", shape: [vocabularySize, hiddenSize], ...matrix }
}
