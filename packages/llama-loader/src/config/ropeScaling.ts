/** How config.json scales rotary embedding (transformers, modeling_rope_utils.py). */
import type { Fail } from "../architectures/Architecture.ts"
import type { HuggingFaceConfig } from "./huggingFaceSchema.ts"
import type { RopeScaling } from "./LlamaConfig.ts"

type Rope = NonNullable<HuggingFaceConfig["rope_scaling"]>

export const ropeScaling = (rope: Rope | null | undefined, config: HuggingFaceConfig, fail: Fail): RopeScaling => {
  const maxPositions = config.max_position_embeddings
  const partial = rope?.partial_rotary_factor ?? config.partial_rotary_factor ?? 1
  if (partial !== 1)
    return fail(`partial_rotary_factor is ${partial}: heads of which a part is turned are not supported`)
  const type = rope?.rope_type ?? rope?.type ?? "default"
  if (rope == null || type === "default") return { type: "none" }
  const need = <K extends keyof Rope>(key: K): NonNullable<Rope[K]> =>
    rope[key] ?? fail(`its rotary embedding of type ${type} has no ${key}`)
  const originalMaxPositions =
    rope.original_max_position_embeddings ?? config.original_max_position_embeddings ?? maxPositions
  if (type === "linear") return { type: "linear", factor: need("factor") }
  if (type === "llama3")
    return {
      type: "llama3",
      factor: need("factor"),
      lowFrequencyFactor: need("low_freq_factor"),
      highFrequencyFactor: need("high_freq_factor"),
      originalMaxPositions
    }
  if (type === "longrope" || type === "su") {
    const factor = maxPositions / originalMaxPositions
    return {
      type: "longrope",
      shortFactors: need("short_factor"),
      longFactors: need("long_factor"),
      originalMaxPositions,
      attentionFactor: rope.attention_factor ?? longRopeAttention(factor, originalMaxPositions)
    }
  }
  return fail(`its rotary embedding is of rope_type ${type}; default, linear, llama3 and longrope are known`)
}

/** Of cosines and sines, for a context that is `factor` times the original (arXiv:2402.13753). */
export const longRopeAttention = (factor: number, original: number): number =>
  factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original))
