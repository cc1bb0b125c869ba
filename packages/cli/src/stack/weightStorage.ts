/** How the frozen weights of a model are kept: the codec of a stack, and the loader's options that go with it. */
import { type ActivationDType, Dense, type WeightCodec } from "@graft/core"
import { LlamaLoader, type OpenedModel } from "@graft/llama-loader"
import { Layer } from "effect"

/**
 * Dense weights keep the file's format, except that where the multiply rounds to bf16 anyway, wider storage would only take
 * more memory. (A GGUF's blocks come as f32, which is some seven times what they take in the file.)
 */
const dtypeOf = (model: OpenedModel, compute: ActivationDType): "source" | "bf16" =>
  compute === "bf16" && model.tensors.names.some((name) => model.tensors.get(name)?.dtype === "f32") ? "bf16" : "source"

/** The model as a stack's loader, its codec below it. */
export const loaderLayer = (model: OpenedModel, compute: ActivationDType) => {
  const dtype = dtypeOf(model, compute)
  const codec: Layer.Layer<WeightCodec> = Dense.layerOf(dtype)
  return LlamaLoader.layerOf(model, { denseDtype: dtype }).pipe(Layer.provide(codec))
}

/** What the recipe multiplies in: as asked, else what the machine does best. */
export const computeOf = (
  asked: ActivationDType | undefined,
  { multipliesBf16 }: { readonly multipliesBf16: boolean }
): ActivationDType => asked ?? (multipliesBf16 ? "bf16" : "f32")
