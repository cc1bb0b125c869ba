/** PEFT's adapter_config.json (peft 0.21, LoraConfig), read and written. */
import { Schema } from "effect"
import type { LoraOptions } from "./LoraOptions.ts"

const maybe = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))
/** The fields that change what an adapter computes; PEFT itself drops those it does not know. */
const AdapterConfig = Schema.Struct({
  peft_type: Schema.String,
  r: maybe(Schema.Int),
  lora_alpha: maybe(Schema.Finite),
  lora_dropout: maybe(Schema.Finite),
  use_rslora: maybe(Schema.Boolean),
  use_dora: maybe(Schema.Boolean),
  target_modules: maybe(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  exclude_modules: maybe(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  rank_pattern: maybe(Schema.Record(Schema.String, Schema.Int)),
  alpha_pattern: maybe(Schema.Record(Schema.String, Schema.Finite)),
  layers_to_transform: maybe(Schema.Union([Schema.Int, Schema.Array(Schema.Int)])),
  base_model_name_or_path: maybe(Schema.String),
  bias: maybe(Schema.String),
  lora_bias: maybe(Schema.Boolean),
  fan_in_fan_out: maybe(Schema.Boolean),
  modules_to_save: maybe(Schema.Array(Schema.String)),
  ensure_weight_tying: maybe(Schema.Boolean),
  trainable_token_indices: maybe(Schema.Unknown),
  target_parameters: maybe(Schema.Array(Schema.String)),
  layer_replication: maybe(Schema.Unknown),
  alora_invocation_tokens: maybe(Schema.Array(Schema.Int)),
  use_qalora: maybe(Schema.Boolean)
})
export type AdapterConfig = typeof AdapterConfig.Type
export const AdapterConfigJson = Schema.fromJsonString(AdapterConfig)

/** What such an adapter has that Graft does not compute. */
export const unsupported = (config: AdapterConfig): string | undefined => {
  if (config.peft_type !== "LORA") return `peft_type is ${config.peft_type}, wanted LORA`
  if ((config.bias ?? "none") !== "none") return `bias is "${config.bias}", wanted "none"`
  const set = (
    [
      "lora_bias",
      "fan_in_fan_out",
      "use_qalora",
      "trainable_token_indices",
      "target_parameters",
      "layer_replication",
      "alora_invocation_tokens"
    ] as const
  ).filter((key) => {
    const value = config[key]
    return value !== undefined && value !== null && value !== false && !(Array.isArray(value) && value.length === 0)
  })
  return set.length === 0
    ? undefined
    : `${set.join(", ")} ${set.length === 1 ? "is" : "are"} set, which Graft does not compute`
}

/** The options that an adapter folder was made with; defaults are PEFT's. */
export const optionsOf = (config: AdapterConfig): LoraOptions => ({
  rank: config.r ?? 8,
  alpha: config.lora_alpha ?? 8,
  dropout: config.lora_dropout ?? 0,
  rsLora: config.use_rslora ?? false,
  dora: config.use_dora ?? false,
  targets: config.target_modules ?? ["q_proj", "v_proj"],
  rankPattern: config.rank_pattern ?? {},
  alphaPattern: config.alpha_pattern ?? {},
  init: "kaiming",
  seed: 0,
  ...(config.exclude_modules == null ? {} : { exclude: config.exclude_modules }),
  ...(config.modules_to_save == null ? {} : { modulesToSave: config.modules_to_save }),
  ...(config.layers_to_transform == null ? {} : { layers: [config.layers_to_transform].flat() })
})

/** Every key that PEFT writes, in its order. */
export const configFor = (
  options: LoraOptions,
  base: { readonly name: string; readonly revision?: string },
  whole: Pick<AdapterConfig, "modules_to_save" | "ensure_weight_tying">
): Readonly<Record<string, unknown>> => ({
  alora_invocation_tokens: null,
  alpha_pattern: options.alphaPattern,
  arrow_config: null,
  auto_mapping: null,
  base_model_name_or_path: base.name,
  bias: "none",
  corda_config: null,
  ensure_weight_tying: whole.ensure_weight_tying,
  eva_config: null,
  exclude_modules: options.exclude ?? null,
  fan_in_fan_out: false,
  inference_mode: true,
  init_lora_weights: options.init === "gaussian" ? "gaussian" : true,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: options.layers ?? null,
  loftq_config: {},
  lora_alpha: options.alpha,
  lora_bias: false,
  lora_dropout: options.dropout,
  megatron_config: null,
  megatron_core: "megatron.core",
  modules_to_save: whole.modules_to_save,
  peft_type: "LORA",
  qalora_group_size: 16,
  r: options.rank,
  rank_pattern: options.rankPattern,
  revision: base.revision ?? null,
  target_modules: options.targets,
  target_parameters: null,
  task_type: "CAUSAL_LM",
  trainable_token_indices: null,
  use_dora: options.dora,
  use_qalora: false,
  use_rslora: options.rsLora
})
