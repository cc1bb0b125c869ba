/** The blocks of a GGUF as the weight codec of a stack. */
import { type BadOptions, decodeOptions, makePart, WeightCodec, withDefault } from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { ggufCodec } from "./ggufCodec.ts"

const Options = Schema.Struct({
  /** Linears that the file does not quantise keep its dtype, or are rounded to this one. */
  denseDtype: withDefault(Schema.Literals(["source", "f32", "bf16"]), "source")
})
const decode = decodeOptions("gguf-quant", Options)

const layerOf = (options: typeof Options.Encoded = {}): Layer.Layer<WeightCodec, BadOptions> =>
  Layer.effect(
    WeightCodec,
    Effect.gen(function* () {
      const { denseDtype } = yield* decode(options)
      return { part: yield* makePart("GGUF blocks"), codec: ggufCodec(denseDtype) }
    })
  )

export const GgufBlocks = { layer: layerOf(), layerOf }
