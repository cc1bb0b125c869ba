/**
 * config.json of transformers, in the spelling of version 4 (`rope_theta`, `rope_scaling`, `torch_dtype`) and of version 5
 * (`rope_parameters`, `dtype`). The file holds much that does not concern a model's arithmetic; only what does is decoded. What
 * families differ in is theirs to read (architectures/).
 */
import { Schema } from "effect"
import { architectureOfFolder } from "../architectures/known.ts"
import { ConfigError } from "./ConfigError.ts"
import { HuggingFaceConfig, optional } from "./huggingFaceSchema.ts"
import type { LlamaConfig, Quantization } from "./LlamaConfig.ts"
import { makeConfig } from "./makeConfig.ts"
import { ropeScaling } from "./ropeScaling.ts"

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
    throw new ConfigError({ message: `${path} does not describe a model that is known: ${what}`, path })
  }
  const decoded = <A>(parse: (value: unknown) => A, value: unknown): A => {
    try {
      return parse(value)
    } catch (cause) {
      return fail(cause instanceof Error ? cause.message : String(cause))
    }
  }
  const kind = decoded(decodeKind, raw)
  const beyond = ["vision_config", "audio_config", "text_config"].find((key) => isRecord(raw) && raw[key] != null)
  if (beyond !== undefined)
    return fail(
      `it has ${beyond}: a model of more than text is not supported. Take its text model, a folder of its own`
    )
  const { name, huggingFace, activation } = architectureOfFolder(
    path,
    kind.architectures ?? [],
    kind.model_type ?? undefined
  )
  const config = decoded(decode, { ...huggingFace.defaults, ...(isRecord(raw) ? raw : {}) })
  const act = config.hidden_activation ?? config.hidden_act ?? activation
  if (act !== activation) return fail(`hidden_act is ${act}, and ${huggingFace.causalLM} has ${activation}`)
  for (const key of ["num_experts", "num_local_experts"] as const)
    if ((config[key] ?? 0) > 1) return fail(`${key} is ${config[key]}: a mixture of experts is not supported`)
  if (config.use_bidirectional_attention === true)
    return fail("use_bidirectional_attention is true, and a model that writes text looks back only")
  const kvHeads = config.num_key_value_heads ?? config.num_attention_heads
  const eos = eosOf(generation) ?? config.eos_token_id
  const dtype = config.dtype ?? config.torch_dtype
  const rope = config.rope_parameters?.full_attention ?? config.rope_parameters ?? config.rope_scaling
  return makeConfig(path, {
    architecture: name,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    kvHeads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    vocabularySize: config.vocab_size,
    maxPositions: config.max_position_embeddings,
    ropeTheta: rope?.rope_theta ?? config.rope_theta ?? 10_000,
    ropeScaling: ropeScaling(rope, config, fail),
    rmsNormEpsilon: config.rms_norm_eps,
    tieWordEmbeddings: config.tie_word_embeddings ?? false,
    attentionBias: config.attention_bias ?? false,
    mlpBias: config.mlp_bias ?? false,
    ...(config.bos_token_id == null ? {} : { bosTokenId: config.bos_token_id }),
    eosTokenIds: eos == null ? [] : typeof eos === "number" ? [eos] : eos,
    ...(dtype === "float32" || dtype === "bfloat16" || dtype === "float16" ? { storedDtype: dtype } : {}),
    ...(config.quantization_config == null ? {} : { quantization: quantization(config.quantization_config, fail) }),
    ...huggingFace.decode?.(config, fail)
  })
}

const isRecord = (raw: unknown): raw is Readonly<Record<string, unknown>> => typeof raw === "object" && raw !== null

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
