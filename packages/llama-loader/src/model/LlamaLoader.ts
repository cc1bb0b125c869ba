/** A Llama as the model of a stack. */
import { type BadOptions, BadStack, decodeOptions, ModelLoader, makePart, WeightCodec, withDefault } from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { contentFingerprint } from "../folder/contentFingerprint.ts"
import { type OpenError, type OpenedModel, openModel } from "../folder/openModel.ts"
import { describeLlama, loadLlama } from "./llamaModel.ts"

const LoaderOptions = Schema.Struct({
  /** What the codec does not store (embedding, head, skipped linears) keeps the file's dtype, or is rounded to this one. */
  denseDtype: withDefault(Schema.Literals(["source", "f32", "bf16"]), "source"),
  /** Linears that stay unquantised, by name or suffix. */
  skip: withDefault(Schema.Array(Schema.NonEmptyString), [])
})
const decode = decodeOptions("llama-loader", LoaderOptions)
type Options = typeof LoaderOptions.Encoded

const make = (model: OpenedModel, options: Options) =>
  Effect.gen(function* () {
    const { denseDtype, skip } = yield* decode(options)
    const codec = yield* WeightCodec
    const { config, tensors } = model
    const stored = config.quantization?.codec
    if (stored !== undefined && codec.codec.adopt === undefined) {
      return yield* new BadStack({
        message: `${model.path}: its linears are stored as ${stored}, which ${codec.codec.name} weights cannot hold; provide the codec of ${stored}`
      })
    }
    const revision = model.hub?.revision
    const description = {
      ...describeLlama(config, model.hub?.id ?? model.path),
      ...(revision === undefined ? {} : { revision })
    }
    const skipped = (path: string) => skip.some((name) => path === name || path.endsWith(`.${name}`))
    return {
      part: yield* makePart("llama-loader", codec),
      description,
      codec: codec.codec.name,
      fingerprint: () => contentFingerprint(model),
      load: (
        queue: Parameters<typeof loadLlama>[1],
        scope: Parameters<typeof loadLlama>[2],
        trained: (path: string) => boolean
      ) =>
        loadLlama(
          { config, description, tensors, codec: codec.codec, denseDtype, skip: skipped },
          queue,
          scope,
          trained
        )
    }
  })

export const LlamaLoader = {
  /** Opens a Hugging Face folder or a GGUF; the files stay open while the layer lives. */
  layer: (
    path: string,
    options: Options = {}
  ): Layer.Layer<ModelLoader, OpenError | BadOptions | BadStack, WeightCodec> =>
    Layer.effect(
      ModelLoader,
      Effect.flatMap(openModel(path), (model) => make(model, options))
    ),
  /** A model that is open already: for whoever needs its tokenizer too. */
  layerOf: (model: OpenedModel, options: Options = {}): Layer.Layer<ModelLoader, BadOptions | BadStack, WeightCodec> =>
    Layer.effect(ModelLoader, make(model, options))
}
