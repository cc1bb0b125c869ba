/** NF4 and FP4 as weight codecs of a stack, over whatever scale format is provided. */
import { type BadOptions, decodeOptions, makePart, ScaleCodec, WeightCodec, withDefault } from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { blockSizes, type Codebook, fp4, nf4 } from "./codebooks.ts"
import { fourBitCodec } from "./fourBitCodec.ts"
import { rowScaleRules } from "./rowScales.ts"

const Options = Schema.Struct({
  /** Elements that share a scale. */
  blockSize: withDefault(Schema.Literals(blockSizes), 64),
  /** Whose rule says which scale an element has, where rows hold no whole number of blocks; see rowScales.ts. */
  rowScales: withDefault(Schema.Literals(rowScaleRules), "flat")
})

const layerOf = (codebook: Codebook) => {
  const decode = decodeOptions(codebook.name, Options)
  return (options: typeof Options.Encoded = {}): Layer.Layer<WeightCodec, BadOptions, ScaleCodec> =>
    Layer.effect(
      WeightCodec,
      Effect.gen(function* () {
        const { blockSize, rowScales } = yield* decode(options)
        const scales = yield* ScaleCodec
        return {
          part: yield* makePart(`${codebook.name} weights`, scales),
          codec: fourBitCodec(codebook, scales.format, blockSize, rowScales)
        }
      })
    )
}
/** 4-bit NormalFloat (QLoRA, arXiv:2305.14314), blocks of 64. */
export const Nf4 = { layer: layerOf(nf4)(), layerOf: layerOf(nf4) }
/** 4-bit floats; NF4 is the better of the two on normally distributed weights. */
export const Fp4 = { layer: layerOf(fp4)(), layerOf: layerOf(fp4) }
