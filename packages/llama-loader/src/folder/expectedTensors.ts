/** Every tensor that a Llama of this description must have, by Hugging Face's name (transformers, models/llama). */
import type { LlamaConfig } from "../config/LlamaConfig.ts"

export interface ExpectedTensor {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  /** A linear's matrix: what a quantised checkpoint may store in another shape. */
  readonly linear: boolean
}

export function* expectedTensors(config: LlamaConfig): Generator<ExpectedTensor> {
  const { hiddenSize, intermediateSize, queryWidth, keyValueWidth, vocabularySize } = config
  yield { name: "model.embed_tokens.weight", shape: [vocabularySize, hiddenSize], linear: false }
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`
    yield { name: `${at}.input_layernorm.weight`, shape: [hiddenSize], linear: false }
    yield* linear(`${at}.self_attn.q_proj`, queryWidth, hiddenSize, config.attentionBias)
    yield* linear(`${at}.self_attn.k_proj`, keyValueWidth, hiddenSize, config.attentionBias)
    yield* linear(`${at}.self_attn.v_proj`, keyValueWidth, hiddenSize, config.attentionBias)
    yield* linear(`${at}.self_attn.o_proj`, hiddenSize, queryWidth, config.attentionBias)
    yield { name: `${at}.post_attention_layernorm.weight`, shape: [hiddenSize], linear: false }
    yield* linear(`${at}.mlp.gate_proj`, intermediateSize, hiddenSize, config.mlpBias)
    yield* linear(`${at}.mlp.up_proj`, intermediateSize, hiddenSize, config.mlpBias)
    yield* linear(`${at}.mlp.down_proj`, hiddenSize, intermediateSize, config.mlpBias)
  }
  yield { name: "model.norm.weight", shape: [hiddenSize], linear: false }
  if (!config.tieWordEmbeddings) yield { name: "lm_head.weight", shape: [vocabularySize, hiddenSize], linear: true }
}

/** W [out, in] and its bias. */
function* linear(path: string, outFeatures: number, inFeatures: number, bias: boolean): Generator<ExpectedTensor> {
  yield { name: `${path}.weight`, shape: [outFeatures, inFeatures], linear: true }
  if (bias) yield { name: `${path}.bias`, shape: [outFeatures], linear: false }
}
