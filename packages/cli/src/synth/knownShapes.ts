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
/** Bfloat16 and grouped queries, as all that follow. */
const newer = (
  kind: readonly [name: string, type: string],
  sizes: readonly [hidden: number, intermediate: number, layers: number, heads: number, kvHeads: number],
  more: object
) => {
  const [hidden, intermediate, layers, heads, kvHeads] = sizes
  return {
    ...of(hidden, intermediate, layers, heads, { num_key_value_heads: kvHeads, torch_dtype: "bfloat16" }),
    architectures: [`${kind[0]}ForCausalLM`],
    model_type: kind[1],
    ...more
  }
}
const llama3 = { rope_theta: 5e5, rms_norm_eps: 1e-5, vocab_size: 128256, max_position_embeddings: 131072 }
const llama31 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }
const qwen = { rope_theta: 1e6, rms_norm_eps: 1e-6, vocab_size: 151936 }
const gelu = { hidden_act: "gelu_pytorch_tanh", hidden_activation: "gelu_pytorch_tanh" }
const gemma = { ...gelu, head_dim: 256, query_pre_attn_scalar: 256, rms_norm_eps: 1e-6, tie_word_embeddings: true }
const gemma2 = { ...gemma, vocab_size: 256000, max_position_embeddings: 8192, sliding_window: 4096 }
const llama2 = { max_position_embeddings: 4096, rms_norm_eps: 1e-5 }

export const knownShapes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "llama-7b": of(4096, 11008, 32, 32, { max_position_embeddings: 2048, rms_norm_eps: 1e-6 }),
  "llama-65b": of(8192, 22016, 80, 64, { max_position_embeddings: 2048, rms_norm_eps: 1e-5 }),
  "llama-2-7b": of(4096, 11008, 32, 32, llama2),
  "llama-2-13b": of(5120, 13824, 40, 40, llama2),
  "llama-2-70b": of(8192, 28672, 80, 64, { ...llama2, num_key_value_heads: 8 }),
  "llama-3.1-8b": newer(["Llama", "llama"], [4096, 14336, 32, 32, 8], {
    ...llama3,
    rope_scaling: { rope_type: "llama3", ...llama31 }
  }),
  "mistral-7b-v0.1": newer(["Mistral", "mistral"], [4096, 14336, 32, 32, 8], {
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-5,
    sliding_window: 4096
  }),
  "qwen2.5-0.5b": newer(["Qwen2", "qwen2"], [896, 4864, 24, 14, 2], {
    ...qwen,
    max_position_embeddings: 32768,
    tie_word_embeddings: true
  }),
  "qwen2.5-7b": newer(["Qwen2", "qwen2"], [3584, 18944, 28, 28, 4], {
    ...qwen,
    vocab_size: 152064,
    max_position_embeddings: 131072
  }),
  "qwen3-0.6b": newer(["Qwen3", "qwen3"], [1024, 3072, 28, 16, 8], {
    ...qwen,
    head_dim: 128,
    max_position_embeddings: 40960,
    tie_word_embeddings: true
  }),
  "qwen3-8b": newer(["Qwen3", "qwen3"], [4096, 12288, 36, 32, 8], {
    ...qwen,
    head_dim: 128,
    max_position_embeddings: 40960
  }),
  "smollm3-3b": newer(["SmolLM3", "smollm3"], [2048, 11008, 36, 16, 4], {
    ...llama3,
    rope_theta: 5e6,
    rms_norm_eps: 1e-6,
    max_position_embeddings: 65536,
    tie_word_embeddings: true
  }),
  "phi-3-mini-4k": newer(["Phi3", "phi3"], [3072, 8192, 32, 32, 32], {
    ...llama2,
    vocab_size: 32064,
    original_max_position_embeddings: 4096,
    sliding_window: 2047
  }),
  "gemma-2-2b": newer(["Gemma2", "gemma2"], [2304, 9216, 26, 8, 4], gemma2),
  "gemma-2-9b": newer(["Gemma2", "gemma2"], [3584, 14336, 42, 16, 8], gemma2),
  "gemma-3-1b": newer(["Gemma3", "gemma3_text"], [1152, 6912, 26, 4, 1], {
    ...gemma,
    vocab_size: 262144,
    max_position_embeddings: 32768,
    sliding_window: 512,
    rope_theta: 1e6,
    rope_local_base_freq: 1e4
  })
}
