/**
 * What a Llama or one of its kin is made of, whichever file said so. Field names are Graft's; `decodeHuggingFace.ts` and
 * `ggufConfig.ts` fill it. What may be left out is left out where it is as in a Llama.
 */
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
  /** Phi-3's: a divisor for each frequency, other ones beyond the original context (arXiv:2402.13753). */
  Schema.Struct({
    type: Schema.Literal("longrope"),
    shortFactors: Schema.Array(Positive),
    longFactors: Schema.Array(Positive),
    originalMaxPositions: Size,
    /** Of cosines and sines, and so of each head's length. */
    attentionFactor: Positive
  }),
  /** A divisor for each frequency, as GGUF's `rope_freqs.weight` has them. */
  Schema.Struct({ type: Schema.Literal("factors"), factors: Schema.Array(Positive) })
])
export type RopeScaling = typeof RopeScaling.Type

/** The families that are known; each is a file of `architectures/`. */
export const ArchitectureName = Schema.Literals([
  "llama",
  "mistral",
  "qwen2",
  "qwen3",
  "smollm3",
  "phi3",
  "gemma2",
  "gemma3"
])
export type ArchitectureName = typeof ArchitectureName.Type

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
  architecture: ArchitectureName,
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
  /** Layers that turn queries and keys; left out: all. */
  rotaryLayers: Schema.optionalKey(Schema.Array(Schema.Boolean)),
  /** A query sees its last `window` keys, itself among them, in the layers that `slidingLayers` names; left out: in all. */
  window: Schema.optionalKey(Size),
  slidingLayers: Schema.optionalKey(Schema.Array(Schema.Boolean)),
  /** Theta of the sliding layers, whose frequencies are not scaled. */
  localRopeTheta: Schema.optionalKey(Positive),
  /** Of scores; left out: 1/√headDim. */
  attentionScale: Schema.optionalKey(Positive),
  /** c: scores become c · tanh(score / c). */
  attentionSoftCap: Schema.optionalKey(Positive),
  /** The same of logits. */
  logitSoftCap: Schema.optionalKey(Positive),
  /** Of embeddings, before the first layer. */
  embeddingScale: Schema.optionalKey(Positive),
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
