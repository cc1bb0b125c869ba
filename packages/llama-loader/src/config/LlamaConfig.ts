/** What a Llama is made of, whichever file said so. Field names are Graft's; `decodeHuggingFace.ts` and `ggufConfig.ts` fill it. */
import { Schema } from "effect"

const Size = Schema.Int.check(Schema.isGreaterThan(0, { message: "expected a positive integer" }))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0, { message: "expected a positive number" }))
const TokenId = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0, { message: "expected a token id" }))

/** How positions beyond those of pre-training are reached; see `inverseFrequencies.ts`. */
export const RopeScaling = Schema.Union([
  Schema.Struct({ type: Schema.Literal("none") }),
  /** Every position is divided by `factor`. */
  Schema.Struct({ type: Schema.Literal("linear"), factor: Positive }),
  /** Llama 3.1: slow frequencies are divided by `factor`, quick ones kept, those between interpolated. */
  Schema.Struct({
    type: Schema.Literal("llama3"),
    factor: Positive,
    lowFrequencyFactor: Positive,
    highFrequencyFactor: Positive,
    originalMaxPositions: Size
  }),
  /** A divisor for each frequency, as GGUF's `rope_freqs.weight` has them. */
  Schema.Struct({ type: Schema.Literal("factors"), factors: Schema.Array(Positive) })
])
export type RopeScaling = typeof RopeScaling.Type

/** bitsandbytes' part of `quantization_config`, as it stands there. */
export const Quantization = Schema.Struct({
  method: Schema.Literal("bitsandbytes"),
  bits: Schema.Literals([4, 8]),
  /** `nf4` or `fp4`. */
  codec: Schema.Literals(["nf4", "fp4"]),
  doubleQuantization: Schema.Boolean,
  computeDtype: Schema.String,
  storageDtype: Schema.String,
  skippedModules: Schema.Array(Schema.String)
})
export type Quantization = typeof Quantization.Type

export class LlamaConfig extends Schema.Class<LlamaConfig>("@graft/llama-loader/LlamaConfig")({
  hiddenSize: Size,
  intermediateSize: Size,
  layers: Size.check(Schema.isLessThanOrEqualTo(10_000, { message: "expected at most 10,000 layers" })),
  heads: Size,
  kvHeads: Size,
  headDim: Size,
  vocabularySize: Size,
  maxPositions: Size,
  ropeTheta: Positive,
  ropeScaling: RopeScaling,
  rmsNormEpsilon: Positive,
  tieWordEmbeddings: Schema.Boolean,
  attentionBias: Schema.Boolean,
  mlpBias: Schema.Boolean,
  bosTokenId: Schema.optionalKey(TokenId),
  /** Any of these ends a text. */
  eosTokenIds: Schema.Array(TokenId),
  /** The format that the file says its weights were made in. */
  storedDtype: Schema.optionalKey(Schema.Literals(["float32", "bfloat16", "float16"])),
  quantization: Schema.optionalKey(Quantization)
}) {
  /** Width of all query heads together. */
  get queryWidth(): number {
    return this.heads * this.headDim
  }
  /** Width of all key heads together; of the values, too. */
  get keyValueWidth(): number {
    return this.kvHeads * this.headDim
  }
}
