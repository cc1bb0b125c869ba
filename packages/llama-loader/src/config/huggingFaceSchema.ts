/** The keys of transformers' config.json that concern the arithmetic of some known family, in the spelling of version 4 and of version 5. */
import { Schema } from "effect"

export const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const ropeKeys = {
  rope_theta: optional(Schema.Number),
  rope_type: optional(Schema.String),
  type: optional(Schema.String),
  factor: optional(Schema.Number),
  low_freq_factor: optional(Schema.Number),
  high_freq_factor: optional(Schema.Number),
  original_max_position_embeddings: optional(Schema.Number),
  partial_rotary_factor: optional(Schema.Number),
  short_factor: optional(Schema.Array(Schema.Number)),
  long_factor: optional(Schema.Array(Schema.Number)),
  attention_factor: optional(Schema.Number)
}
/** Version 5 says it by kind of layer where kinds differ. */
const Rope = Schema.Struct({
  ...ropeKeys,
  full_attention: optional(Schema.Struct(ropeKeys)),
  sliding_attention: optional(Schema.Struct(ropeKeys))
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

export const HuggingFaceConfig = Schema.Struct({
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
  quantization_config: optional(BitsAndBytes),
  // Of some families only.
  hidden_activation: optional(Schema.String),
  sliding_window: optional(Schema.Number),
  use_sliding_window: optional(Schema.Boolean),
  max_window_layers: optional(Schema.Number),
  layer_types: optional(Schema.Array(Schema.String)),
  sliding_window_pattern: optional(Schema.Number),
  no_rope_layers: optional(Schema.Array(Schema.Number)),
  no_rope_layer_interval: optional(Schema.Number),
  partial_rotary_factor: optional(Schema.Number),
  original_max_position_embeddings: optional(Schema.Number),
  rope_local_base_freq: optional(Schema.Number),
  query_pre_attn_scalar: optional(Schema.Number),
  attn_logit_softcapping: optional(Schema.Number),
  final_logit_softcapping: optional(Schema.Number),
  use_bidirectional_attention: optional(Schema.Boolean),
  num_experts: optional(Schema.Number),
  num_local_experts: optional(Schema.Number)
})
export type HuggingFaceConfig = typeof HuggingFaceConfig.Type
