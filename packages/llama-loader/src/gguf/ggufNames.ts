/** Names of a model's tensors: GGUF's (gguf-py/gguf/tensor_mapping.py) and Hugging Face's. A Llama's, and what its family has beyond. */
import type { Architecture } from "../architectures/Architecture.ts"

const outer: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head"
}
const inLayer: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj"
}
type Names = Pick<Architecture, "gguf">
const layerNames = ({ gguf }: Names): ReadonlyMap<string, string> =>
  new Map(Object.entries({ ...inLayer, ...gguf.names }))
const outerNames = new Map(Object.entries(outer))

/** `blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`; `undefined` for what is no weight of such a model. */
export const huggingFaceName = (architecture: Names, gguf: string): string | undefined => {
  const [, layer, part, kind] = /^(?:blk\.(\d{1,6})\.)?(\w+)\.(weight|bias)$/.exec(gguf) ?? []
  if (part === undefined) return undefined
  const name = layer === undefined ? outerNames.get(part) : layerNames(architecture).get(part)
  if (name === undefined) return undefined
  return layer === undefined ? `${name}.${kind}` : `model.layers.${layer}.${name}.${kind}`
}

/** `model.layers.0.self_attn.q_proj` → `blk.0.attn_q`; `undefined` for what is no module of such a model. */
export const ggufModule = (architecture: Names, path: string): string | undefined => {
  const [, layer, module = ""] = /^model\.layers\.(\d{1,6})\.(.+)$/.exec(path) ?? []
  const find = (names: ReadonlyMap<string, string>, wanted: string) =>
    [...names].find(([, name]) => name === wanted)?.[0]
  if (layer === undefined) return find(outerNames, path)
  const name = find(layerNames(architecture), module)
  return name === undefined ? undefined : `blk.${layer}.${name}`
}
