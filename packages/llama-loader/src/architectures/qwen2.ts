/** Qwen2 and Qwen2.5 (arXiv:2412.15115): queries, keys and values have a bias. */
import { separateAttention } from "../block/attention.ts"
import type { Architecture } from "./Architecture.ts"
import { windowKeys, windowOfLateLayers } from "./layerKinds.ts"
import { llama } from "./llama.ts"

export const qwen2: Architecture = {
  name: "qwen2",
  label: "Qwen2",
  activation: "silu",
  block: { ...llama.block, attention: separateAttention({ outputBias: false }) },
  huggingFace: {
    causalLM: "Qwen2ForCausalLM",
    modelType: "qwen2",
    defaults: { rms_norm_eps: 1e-6, sliding_window: 4096 },
    decode: (config, fail) => ({ ...windowOfLateLayers(config, fail), attentionBias: true, mlpBias: false }),
    encode: (config) => ({
      ...windowKeys(config),
      use_sliding_window: config.window !== undefined,
      head_dim: undefined
    })
  },
  gguf: { id: "qwen2" }
}
