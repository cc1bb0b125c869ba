/** Qwen3 (arXiv:2505.09388): every head of queries and keys is normed before it is turned; a head's size stands by itself. */
import { separateAttention } from "../block/attention.ts"
import type { Architecture } from "./Architecture.ts"
import { windowKeys, windowOfLateLayers } from "./layerKinds.ts"
import { llama } from "./llama.ts"

export const qwen3: Architecture = {
  name: "qwen3",
  label: "Qwen3",
  activation: "silu",
  block: { ...llama.block, attention: separateAttention({ headNorms: true }) },
  huggingFace: {
    causalLM: "Qwen3ForCausalLM",
    modelType: "qwen3",
    defaults: { head_dim: 128, rms_norm_eps: 1e-6, sliding_window: 4096 },
    decode: (config, fail) => ({ ...windowOfLateLayers(config, fail), mlpBias: false }),
    encode: (config) => ({
      ...windowKeys(config),
      use_sliding_window: config.window !== undefined,
      attention_bias: config.attentionBias
    })
  },
  gguf: { id: "qwen3", names: { attn_q_norm: "self_attn.q_norm", attn_k_norm: "self_attn.k_norm" } }
}
