/**
 * Gemma 2 (arXiv:2408.00118): norms before and behind each half with gains 1 + w, GeGLU, soft caps on scores and logits,
 * every other layer slides, embeddings are scaled by √hidden.
 */
import { geglu } from "@graft/core"
import { separateAttention } from "../block/attention.ts"
import { gatedMlp } from "../block/mlp.ts"
import { sandwichNorm } from "../block/residual.ts"
import type { HuggingFaceConfig } from "../config/huggingFaceSchema.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import type { Architecture, Fields, GgufKeys } from "./Architecture.ts"
import { windowFields, windowKeys } from "./layerKinds.ts"

const alternates = (layer: number): boolean => layer % 2 === 0

/** What Gemma 2 and 3 have in common in config.json. */
export const gemmaFields = (config: HuggingFaceConfig): Fields => ({
  embeddingScale: Math.sqrt(config.hidden_size),
  attentionScale: 1 / Math.sqrt(config.query_pre_attn_scalar ?? 256),
  mlpBias: false,
  ...(config.attn_logit_softcapping == null ? {} : { attentionSoftCap: config.attn_logit_softcapping }),
  ...(config.final_logit_softcapping == null ? {} : { logitSoftCap: config.final_logit_softcapping })
})
export const gemmaKeys = (config: LlamaConfig): Readonly<Record<string, unknown>> => ({
  ...windowKeys(config),
  hidden_activation: "gelu_pytorch_tanh",
  attention_bias: config.attentionBias,
  // A whole number in every model; its root in f64 is not.
  query_pre_attn_scalar: Math.round(1e6 / (config.attentionScale ?? 1 / 16) ** 2) / 1e6,
  attn_logit_softcapping: config.attentionSoftCap ?? null,
  final_logit_softcapping: config.logitSoftCap ?? null
})
/** llama.cpp knows from the count of layers that the largest scales scores by the width of a head of hidden numbers. */
export const gemmaScales = ({ fields }: GgufKeys, layersOfLargest: number): Fields => {
  const { hiddenSize, heads, headDim, layers } = fields
  const scalar = layers === layersOfLargest ? hiddenSize / heads : headDim
  return { embeddingScale: Math.sqrt(hiddenSize), attentionScale: 1 / Math.sqrt(scalar) }
}
export const gemmaNames = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm"
}

export const gemma2: Architecture = {
  name: "gemma2",
  label: "Gemma 2",
  activation: "gelu_pytorch_tanh",
  shiftedNorms: true,
  block: { attention: separateAttention(), mlp: gatedMlp(geglu), residual: sandwichNorm },
  huggingFace: {
    causalLM: "Gemma2ForCausalLM",
    modelType: "gemma2",
    defaults: {
      num_key_value_heads: 4,
      head_dim: 256,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      sliding_window: 4096,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30
    },
    decode: (config, fail) => ({ ...gemmaFields(config), ...windowFields(config, alternates, fail) }),
    encode: gemmaKeys
  },
  gguf: {
    id: "gemma2",
    names: gemmaNames,
    decode: (keys) => ({
      ...gemmaScales(keys, 46),
      attentionSoftCap: keys.number("attn_logit_softcapping") ?? 50,
      logitSoftCap: keys.number("final_logit_softcapping") ?? 30,
      window: keys.number("attention.sliding_window") ?? 4096,
      slidingLayers: keys.each(alternates)
    })
  }
}
