import type { ActivationDType } from "@graft/core"
import type { OpenedModel } from "@graft/llama-loader"

/**
 * How dense weights are kept. Where the multiply rounds to bf16 anyway, wider storage would only take more memory; a GGUF's
 * blocks come as f32, which is four times what they take in bits.
 */
export const denseDtype = (model: OpenedModel, compute: ActivationDType): "source" | "bf16" =>
  compute === "bf16" && model.tensors.names.some((name) => model.tensors.get(name)?.dtype === "f32") ? "bf16" : "source"
