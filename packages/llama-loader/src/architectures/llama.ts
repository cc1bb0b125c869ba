/** Llama 2 and 3 (arXiv:2307.09288, arXiv:2407.21783): what the others differ from. */
import { swiglu } from "@graft/core"
import { separateAttention } from "../block/attention.ts"
import { gatedMlp } from "../block/mlp.ts"
import { preNorm } from "../block/residual.ts"
import type { Architecture } from "./Architecture.ts"

export const llama: Architecture = {
  name: "llama",
  label: "Llama",
  activation: "silu",
  block: { attention: separateAttention(), mlp: gatedMlp(swiglu), residual: preNorm },
  huggingFace: {
    causalLM: "LlamaForCausalLM",
    modelType: "llama",
    encode: ({ attentionBias, mlpBias }) => ({ attention_bias: attentionBias, mlp_bias: mlpBias })
  },
  gguf: { id: "llama", pairedRows: true }
}
