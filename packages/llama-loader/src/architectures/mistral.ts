/** Mistral (arXiv:2310.06825): a Llama whose layers may all slide. Its GGUF is a Llama's, which has no window. */
import type { Architecture } from "./Architecture.ts"
import { windowFields } from "./layerKinds.ts"
import { llama } from "./llama.ts"

export const mistral: Architecture = {
  ...llama,
  name: "mistral",
  label: "Mistral",
  huggingFace: {
    causalLM: "MistralForCausalLM",
    modelType: "mistral",
    defaults: { num_key_value_heads: 8, rms_norm_eps: 1e-6, sliding_window: 4096 },
    decode: (config, fail) => ({
      ...windowFields({ ...config, layer_types: null }, () => true, fail),
      attentionBias: false,
      mlpBias: false
    }),
    encode: ({ window }) => ({ sliding_window: window ?? null })
  }
}
