/** Phi-3 (arXiv:2404.14219): projections of one input lie in one matrix each. */
import { swiglu } from "@graft/core"
import { fusedAttention } from "../block/attention.ts"
import { fusedGatedMlp } from "../block/mlp.ts"
import { preNorm } from "../block/residual.ts"
import type { Architecture } from "./Architecture.ts"
import { windowFields } from "./layerKinds.ts"

export const phi3: Architecture = {
  name: "phi3",
  label: "Phi-3",
  activation: "silu",
  block: { attention: fusedAttention, mlp: fusedGatedMlp(swiglu), residual: preNorm },
  huggingFace: {
    causalLM: "Phi3ForCausalLM",
    modelType: "phi3",
    defaults: { original_max_position_embeddings: 4096 },
    decode: (config, fail) => ({
      ...windowFields({ ...config, layer_types: null }, () => true, fail),
      attentionBias: false,
      mlpBias: false
    }),
    encode: ({ window, ropeScaling, maxPositions }) => ({
      head_dim: undefined,
      sliding_window: window ?? null,
      original_max_position_embeddings:
        ropeScaling.type === "longrope" ? ropeScaling.originalMaxPositions : maxPositions,
      // Its own code knows no head that is turned in part, and wants to be told so (configuration_phi3.py).
      partial_rotary_factor: 1
    })
  },
  gguf: {
    id: "phi3",
    names: { attn_qkv: "self_attn.qkv_proj", ffn_up: "mlp.gate_up_proj" },
    decode: ({ number }) => {
      const window = number("attention.sliding_window") ?? 0
      return window > 0 ? { window } : {}
    }
  }
}
