/** Grouped-query attention (arXiv:2305.13245): projections by themselves or in one matrix, heads normed or not. */
import { loraQkv, type Tensor } from "@graft/core"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { splitColumns } from "../ops/splitColumns.ts"
import type { Layer, LinearShape, Part } from "./Layer.ts"

const output = ({ hiddenSize, queryWidth }: LlamaConfig, bias: boolean): LinearShape => ({
  module: "self_attn.o_proj",
  outFeatures: hiddenSize,
  inFeatures: queryWidth,
  bias
})

/** q, k, v [tokens, heads·headDim] → [tokens, hidden] */
const attended = ({ config: { heads, kvHeads }, turn, attend, linear }: Layer, q: Tensor, k: Tensor, v: Tensor) =>
  linear("self_attn.o_proj", attend(turn(q, heads), turn(k, kvHeads), v))

/** Queries, keys and values, as one op where each is a frozen weight with adapters. */
const projected = ({ g, linear, adapted, biased }: Layer, x: Tensor): readonly [Tensor, Tensor, Tensor] => {
  const names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] as const
  const [ofQ, ofK, ofV] = [adapted(names[0], x), adapted(names[1], x), adapted(names[2], x)]
  if (ofQ === undefined || ofK === undefined || ofV === undefined)
    return [linear(names[0], x), linear(names[1], x), linear(names[2], x)]
  const [q, k, v] = loraQkv(g, x, ofQ, ofK, ofV)
  return [biased(names[0], q), biased(names[1], k), biased(names[2], v)]
}

interface Separate {
  /** RMSNorm over each head of queries and keys, before they are turned (Qwen3, Gemma 3). */
  readonly headNorms?: boolean
  /** A bias of the output projection, where `attentionBias` says that the projections have one. */
  readonly outputBias?: boolean
}

/** `q_proj`, `k_proj` and `v_proj`. */
export const separateAttention = ({ headNorms = false, outputBias = true }: Separate = {}): Part => ({
  linears: (config) => {
    const { hiddenSize: inFeatures, queryWidth, keyValueWidth, attentionBias: bias } = config
    const projection = (name: string, outFeatures: number) => ({
      module: `self_attn.${name}`,
      outFeatures,
      inFeatures,
      bias
    })
    return [
      projection("q_proj", queryWidth),
      projection("k_proj", keyValueWidth),
      projection("v_proj", keyValueWidth),
      output(config, bias && outputBias)
    ]
  },
  norms: ({ headDim: width }) =>
    headNorms
      ? [
          { module: "self_attn.q_norm", width },
          { module: "self_attn.k_norm", width }
        ]
      : [],
  forward: (layer, x) => {
    const { norm } = layer
    const [q, k, v] = projected(layer, x)
    return headNorms
      ? attended(layer, norm("self_attn.q_norm", q), norm("self_attn.k_norm", k), v)
      : attended(layer, q, k, v)
  }
})

/** `qkv_proj`: queries, keys and values are rows of one matrix, and so one target of an adapter (Phi-3). */
export const fusedAttention: Part = {
  linears: (config) => [
    {
      module: "self_attn.qkv_proj",
      outFeatures: config.queryWidth + 2 * config.keyValueWidth,
      inFeatures: config.hiddenSize,
      bias: config.attentionBias
    },
    output(config, config.attentionBias)
  ],
  norms: () => [],
  forward: (layer, x) => {
    const { g, linear, config } = layer
    const { queryWidth, keyValueWidth } = config
    const widths = [queryWidth, keyValueWidth, keyValueWidth] as const
    const [q, k, v] = splitColumns(g, linear("self_attn.qkv_proj", x), widths)
    return attended(layer, q, k!, v!) // as many as widths
  }
}
