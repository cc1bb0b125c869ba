/** config.json of models that people ask for by name, as their makers published them. */
const llama = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  initializer_range: 0.02,
  tie_word_embeddings: false,
  torch_dtype: "float16",
  vocab_size: 32000
}
const of = (hidden: number, intermediate: number, layers: number, heads: number, more: object) => ({
  ...llama,
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: heads,
  ...more
})
const llama2 = { max_position_embeddings: 4096, rms_norm_eps: 1e-5 }

export const knownShapes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "llama-7b": of(4096, 11008, 32, 32, { max_position_embeddings: 2048, rms_norm_eps: 1e-6 }),
  "llama-65b": of(8192, 22016, 80, 64, { max_position_embeddings: 2048, rms_norm_eps: 1e-5 }),
  "llama-2-7b": of(4096, 11008, 32, 32, llama2),
  "llama-2-13b": of(5120, 13824, 40, 40, llama2),
  "llama-2-70b": of(8192, 28672, 80, 64, { ...llama2, num_key_value_heads: 8 })
}
