/**
 * A model's description as config.json of transformers, for a model that came without one (a GGUF). Its rotary embedding is
 * said in the spelling of version 4 and of version 5, since a reader that misses it computes something else.
 */
import { architectureOf } from "../architectures/known.ts"
import { ConfigError } from "./ConfigError.ts"
import { configJson } from "./configJson.ts"
import { inverseFrequencies } from "./inverseFrequencies.ts"
import type { LlamaConfig, RopeScaling } from "./LlamaConfig.ts"

/** Llama 3.1 to 3.3 differ in the factor alone (config.json of these models). */
const llama3 = { lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 } as const

/** A GGUF keeps Llama 3's scaling as the divisors that follow from it. */
const named = (config: LlamaConfig): RopeScaling | undefined => {
  const { ropeScaling, headDim, ropeTheta } = config
  if (ropeScaling.type !== "factors") return ropeScaling
  const scaling = { type: "llama3", factor: Math.max(...ropeScaling.factors), ...llama3 } as const
  const wanted = inverseFrequencies(config)
  const got = inverseFrequencies({ headDim, ropeTheta, ropeScaling: scaling })
  return wanted.every((f, i) => Math.abs(f - got[i]!) <= 1e-5 * f) ? scaling : undefined
}

const ropeOf = (scaling: RopeScaling): Readonly<Record<string, unknown>> => {
  if (scaling.type === "linear") return { rope_type: "linear", factor: scaling.factor }
  if (scaling.type === "longrope")
    return {
      rope_type: "longrope",
      short_factor: scaling.shortFactors,
      long_factor: scaling.longFactors,
      original_max_position_embeddings: scaling.originalMaxPositions,
      attention_factor: scaling.attentionFactor
    }
  if (scaling.type !== "llama3") return { rope_type: "default" }
  return {
    rope_type: "llama3",
    factor: scaling.factor,
    low_freq_factor: scaling.lowFrequencyFactor,
    high_freq_factor: scaling.highFrequencyFactor,
    original_max_position_embeddings: scaling.originalMaxPositions
  }
}

/** @throws ConfigError for a rotary embedding that transformers has no name for */
export const encodeHuggingFace = (
  path: string,
  config: LlamaConfig,
  dtype: "float32" | "bfloat16" | "float16"
): string => {
  const scaling = named(config)
  if (scaling === undefined)
    throw new ConfigError({
      message: `${path}: the divisors of its rotary frequencies are those of no scaling that config.json can say; take the model's Hugging Face folder`,
      path
    })
  const rope = ropeOf(scaling)
  const { eosTokenIds: ends } = config
  const { huggingFace, activation } = architectureOf(config)
  const said: Record<string, unknown> = {
    architectures: [huggingFace.causalLM],
    bos_token_id: config.bosTokenId ?? null,
    dtype,
    eos_token_id: ends.length > 1 ? ends : (ends[0] ?? null),
    head_dim: config.headDim,
    hidden_act: activation,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositions,
    model_type: huggingFace.modelType,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    // Else a class's own, which need not be a token of this vocabulary.
    pad_token_id: null,
    rms_norm_eps: config.rmsNormEpsilon,
    rope_parameters: { rope_theta: config.ropeTheta, ...rope },
    rope_scaling: scaling.type === "none" ? null : rope,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: dtype,
    vocab_size: config.vocabularySize,
    ...huggingFace.encode?.(config, { rope_theta: config.ropeTheta, ...rope })
  }
  const sorted = Object.fromEntries(
    Object.keys(said)
      .sort()
      .map((key) => [key, said[key]])
  )
  return configJson(sorted)
}
