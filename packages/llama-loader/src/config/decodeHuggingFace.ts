/**
 * config.json of transformers, in the spelling of version 4 (`rope_theta`, `rope_scaling`, `torch_dtype`) and of version 5
 * (`rope_parameters`, `dtype`). The file holds much that does not concern a Llama's arithmetic; only what does is decoded.
 */
import { Schema } from "effect"
import { ConfigError, UnknownArchitecture } from "./ConfigError.ts"
import type { LlamaConfig, Quantization, RopeScaling } from "./LlamaConfig.ts"
import { makeConfig } from "./makeConfig.ts"

const known: ReadonlyArray<string> = ["LlamaForCausalLM"]

const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const Rope = Schema.Struct({
  rope_theta: optional(Schema.Number),
  rope_type: optional(Schema.String),
  type: optional(Schema.String),
  factor: optional(Schema.Number),
  low_freq_factor: optional(Schema.Number),
  high_freq_factor: optional(Schema.Number),
  original_max_position_embeddings: optional(Schema.Number),
  partial_rotary_factor: optional(Schema.Number)
})

const BitsAndBytes = Schema.Struct({
  quant_method: optional(Schema.String),
  load_in_4bit: optional(Schema.Boolean),
  load_in_8bit: optional(Schema.Boolean),
  bnb_4bit_quant_type: optional(Schema.Literals(["nf4", "fp4"])),
  bnb_4bit_use_double_quant: optional(Schema.Boolean),
  bnb_4bit_compute_dtype: optional(Schema.String),
  bnb_4bit_quant_storage: optional(Schema.String),
  llm_int8_skip_modules: optional(Schema.Array(Schema.String))
})

const HuggingFaceConfig = Schema.Struct({
  hidden_size: Schema.Number,
  intermediate_size: Schema.Number,
  num_hidden_layers: Schema.Number,
  num_attention_heads: Schema.Number,
  num_key_value_heads: optional(Schema.Number),
  head_dim: optional(Schema.Number),
  vocab_size: Schema.Number,
  max_position_embeddings: Schema.Number,
  rms_norm_eps: Schema.Number,
  hidden_act: optional(Schema.String),
  tie_word_embeddings: optional(Schema.Boolean),
  attention_bias: optional(Schema.Boolean),
  mlp_bias: optional(Schema.Boolean),
  rope_theta: optional(Schema.Number),
  rope_scaling: optional(Rope),
  rope_parameters: optional(Rope),
  bos_token_id: optional(Schema.Number),
  eos_token_id: optional(Schema.Union([Schema.Number, Schema.Array(Schema.Number)])),
  torch_dtype: optional(Schema.String),
  dtype: optional(Schema.String),
  quantization_config: optional(BitsAndBytes)
})
type HuggingFaceConfig = typeof HuggingFaceConfig.Type

const decode = Schema.decodeUnknownSync(HuggingFaceConfig, { errors: "all" })
const Kind = Schema.Struct({
  architectures: optional(Schema.Array(Schema.String)),
  model_type: optional(Schema.String)
})
const decodeKind = Schema.decodeUnknownSync(Kind)

/**
 * `raw` is config.json as parsed; `generation` is generation_config.json, whose list of ends of text is the fuller one.
 * @throws ConfigError | UnknownArchitecture
 */
export const decodeHuggingFace = (path: string, raw: unknown, generation?: unknown): LlamaConfig => {
  const fail = (what: string): never => {
    throw new ConfigError({ message: `${path} does not describe a Llama: ${what}`, path })
  }
  const decoded = <A>(parse: (value: unknown) => A, value: unknown): A => {
    try {
      return parse(value)
    } catch (cause) {
      return fail(cause instanceof Error ? cause.message : String(cause))
    }
  }
  const kind = decoded(decodeKind, raw)
  const architectures = kind.architectures ?? []
  // Files written by hand sometimes name the type only.
  const isLlama =
    architectures.length > 0 ? architectures.some((name) => known.includes(name)) : kind.model_type === "llama"
  if (!isLlama)
    throw new UnknownArchitecture({
      path,
      architecture: architectures.join(", ") || (kind.model_type ?? "(none)"),
      known
    })

  const config = decoded(decode, raw)
  if ((config.hidden_act ?? "silu") !== "silu") return fail(`hidden_act is ${config.hidden_act}, and a Llama's is silu`)
  const rope = config.rope_parameters ?? config.rope_scaling
  const kvHeads = config.num_key_value_heads ?? config.num_attention_heads
  const eos = eosOf(generation) ?? config.eos_token_id
  const dtype = config.dtype ?? config.torch_dtype
  return makeConfig(path, {
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    kvHeads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    vocabularySize: config.vocab_size,
    maxPositions: config.max_position_embeddings,
    ropeTheta: config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10_000,
    ropeScaling: scaling(rope, config.max_position_embeddings, fail),
    rmsNormEpsilon: config.rms_norm_eps,
    tieWordEmbeddings: config.tie_word_embeddings ?? false,
    attentionBias: config.attention_bias ?? false,
    mlpBias: config.mlp_bias ?? false,
    ...(config.bos_token_id == null ? {} : { bosTokenId: config.bos_token_id }),
    eosTokenIds: eos == null ? [] : typeof eos === "number" ? [eos] : eos,
    ...(dtype === "float32" || dtype === "bfloat16" || dtype === "float16" ? { storedDtype: dtype } : {}),
    ...(config.quantization_config == null ? {} : { quantization: quantization(config.quantization_config, fail) })
  })
}

const scaling = (
  rope: HuggingFaceConfig["rope_scaling"],
  maxPositions: number,
  fail: (what: string) => never
): RopeScaling => {
  const type = rope?.rope_type ?? rope?.type ?? "default"
  if ((rope?.partial_rotary_factor ?? 1) !== 1) return fail(`partial_rotary_factor is ${rope?.partial_rotary_factor}`)
  if (rope == null || type === "default") return { type: "none" }
  const need = (key: "factor" | "low_freq_factor" | "high_freq_factor"): number =>
    rope[key] ?? fail(`its rotary embedding of type ${type} has no ${key}`)
  if (type === "linear") return { type: "linear", factor: need("factor") }
  if (type === "llama3")
    return {
      type: "llama3",
      factor: need("factor"),
      lowFrequencyFactor: need("low_freq_factor"),
      highFrequencyFactor: need("high_freq_factor"),
      originalMaxPositions: rope.original_max_position_embeddings ?? maxPositions
    }
  return fail(`its rotary embedding is of type ${type}; default, linear and llama3 are known`)
}

const quantization = (
  config: NonNullable<HuggingFaceConfig["quantization_config"]>,
  fail: (what: string) => never
): Quantization => {
  const four = config.load_in_4bit ?? false
  if ((config.quant_method ?? "bitsandbytes") !== "bitsandbytes" || four === (config.load_in_8bit ?? false))
    return fail(
      `it is quantised by ${config.quant_method ?? "an unnamed method"}; bitsandbytes in 4 or 8 bits is known. Take the original folder`
    )
  return {
    method: "bitsandbytes",
    bits: four ? 4 : 8,
    codec: config.bnb_4bit_quant_type ?? "fp4", // bitsandbytes' own default
    doubleQuantization: config.bnb_4bit_use_double_quant ?? false,
    computeDtype: config.bnb_4bit_compute_dtype ?? "float32",
    storageDtype: config.bnb_4bit_quant_storage ?? "uint8",
    skippedModules: config.llm_int8_skip_modules ?? []
  }
}

const decodeGeneration = Schema.decodeUnknownOption(
  Schema.Struct({ eos_token_id: optional(Schema.Union([Schema.Number, Schema.Array(Schema.Number)])) })
)

const eosOf = (generation: unknown): number | ReadonlyArray<number> | undefined => {
  const decoded = decodeGeneration(generation)
  return decoded._tag === "Some" ? (decoded.value.eos_token_id ?? undefined) : undefined
}
