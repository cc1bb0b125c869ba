/** SmolLM3: a Llama of which every fourth layer turns nothing (NoPE, arXiv:2501.18795). */
import type { Architecture } from "./Architecture.ts"
import { eachLayer, windowFields, windowKeys } from "./layerKinds.ts"
import { llama } from "./llama.ts"

const INTERVAL = 4
const turns = (interval: number) => (layer: number) => (layer + 1) % interval !== 0

export const smollm3: Architecture = {
  ...llama,
  name: "smollm3",
  label: "SmolLM3",
  huggingFace: {
    causalLM: "SmolLM3ForCausalLM",
    modelType: "smollm3",
    defaults: { num_key_value_heads: 4, rms_norm_eps: 1e-6, rope_theta: 2_000_000, tie_word_embeddings: true },
    decode: (config, fail) => {
      const { num_hidden_layers: layers, no_rope_layers: listed, no_rope_layer_interval: interval } = config
      if (listed != null && listed.length < layers)
        fail(`no_rope_layers has ${listed.length} entries for ${layers} layers`)
      const rotaryLayers =
        listed?.slice(0, layers).map((flag) => flag !== 0) ?? eachLayer(layers, turns(interval ?? INTERVAL))
      const window =
        config.use_sliding_window === true ? windowFields(config, (layer) => !rotaryLayers[layer], fail) : {}
      return { rotaryLayers, ...window }
    },
    encode: (config) => ({
      ...windowKeys(config),
      use_sliding_window: config.window !== undefined,
      no_rope_layers: (config.rotaryLayers ?? []).map(Number),
      attention_bias: config.attentionBias,
      mlp_bias: config.mlpBias
    })
  },
  // llama.cpp has the interval in its code, not in the file (src/models/smollm3.cpp).
  gguf: { id: "smollm3", pairedRows: true, decode: ({ each }) => ({ rotaryLayers: each(turns(INTERVAL)) }) }
}
