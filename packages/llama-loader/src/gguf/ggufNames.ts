/** Names of a Llama's tensors: GGUF's (gguf-py/gguf/tensor_mapping.py, architecture `llama`) and Hugging Face's. */

const outer: ReadonlyMap<string, string> = new Map([
  ["token_embd", "model.embed_tokens"],
  ["output_norm", "model.norm"],
  ["output", "lm_head"]
])
const inLayer: ReadonlyMap<string, string> = new Map([
  ["attn_norm", "input_layernorm"],
  ["attn_q", "self_attn.q_proj"],
  ["attn_k", "self_attn.k_proj"],
  ["attn_v", "self_attn.v_proj"],
  ["attn_output", "self_attn.o_proj"],
  ["ffn_norm", "post_attention_layernorm"],
  ["ffn_gate", "mlp.gate_proj"],
  ["ffn_up", "mlp.up_proj"],
  ["ffn_down", "mlp.down_proj"]
])

/** `blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`; `undefined` for what is no weight of a Llama. */
export const huggingFaceName = (gguf: string): string | undefined => {
  const [, layer, part, kind] = /^(?:blk\.(\d{1,6})\.)?(\w+)\.(weight|bias)$/.exec(gguf) ?? []
  if (part === undefined) return undefined
  if (layer === undefined) {
    const name = outer.get(part)
    return name === undefined ? undefined : `${name}.${kind}`
  }
  const name = inLayer.get(part)
  return name === undefined ? undefined : `model.layers.${layer}.${name}.${kind}`
}

const outerOf = new Map([...outer].map(([gguf, path]) => [path, gguf]))
const inLayerOf = new Map([...inLayer].map(([gguf, path]) => [path, gguf]))

/** `model.layers.0.self_attn.q_proj` → `blk.0.attn_q`; `undefined` for what is no module of a Llama. */
export const ggufModule = (path: string): string | undefined => {
  const [, layer, module = ""] = /^model\.layers\.(\d{1,6})\.(.+)$/.exec(path) ?? []
  if (layer === undefined) return outerOf.get(path)
  const name = inLayerOf.get(module)
  return name === undefined ? undefined : `blk.${layer}.${name}`
}
