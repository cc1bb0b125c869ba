/**
 * Gemma 3's text models (arXiv:2503.19786): Gemma 2 with heads normed instead of scores capped, five of six layers sliding,
 * and a theta of their own for these.
 */
import { separateAttention } from "../block/attention.ts"
import type { Architecture } from "./Architecture.ts"
import { gemma2, gemmaFields, gemmaKeys, gemmaNames, gemmaScales } from "./gemma2.ts"
import { windowFields } from "./layerKinds.ts"

const PATTERN = 6
const LOCAL_THETA = 10_000
const slides = (pattern: number) => (layer: number) => (layer + 1) % pattern !== 0

export const gemma3: Architecture = {
  ...gemma2,
  name: "gemma3",
  label: "Gemma 3",
  block: { ...gemma2.block, attention: separateAttention({ headNorms: true }) },
  huggingFace: {
    causalLM: "Gemma3ForCausalLM",
    modelType: "gemma3_text",
    defaults: {
      num_key_value_heads: 4,
      head_dim: 256,
      rms_norm_eps: 1e-6,
      rope_theta: 1_000_000,
      tie_word_embeddings: true,
      sliding_window: 4096
    },
    decode: (config, fail) => ({
      ...gemmaFields(config),
      ...windowFields(config, slides(config.sliding_window_pattern ?? PATTERN), fail),
      localRopeTheta:
        config.rope_parameters?.sliding_attention?.rope_theta ?? config.rope_local_base_freq ?? LOCAL_THETA
    }),
    encode: (config, rope) => {
      const local = config.localRopeTheta ?? LOCAL_THETA
      return {
        ...gemmaKeys(config),
        rope_local_base_freq: local,
        rope_parameters: { full_attention: rope, sliding_attention: { rope_type: "default", rope_theta: local } }
      }
    }
  },
  gguf: {
    id: "gemma3",
    names: { ...gemmaNames, attn_q_norm: "self_attn.q_norm", attn_k_norm: "self_attn.k_norm" },
    decode: (keys) => {
      const cap = keys.number("final_logit_softcapping")
      return {
        ...gemmaScales(keys, 62),
        ...(cap === undefined ? {} : { logitSoftCap: cap }),
        window: keys.number("attention.sliding_window") ?? keys.fail("it has no gemma3.attention.sliding_window"),
        slidingLayers: keys.each(slides(keys.number("attention.sliding_window_pattern") ?? PATTERN)),
        localRopeTheta: keys.number("rope.freq_base_swa") ?? LOCAL_THETA
      }
    }
  }
}
