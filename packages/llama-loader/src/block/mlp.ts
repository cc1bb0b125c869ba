/** Gated feed-forward networks (arXiv:2002.05202): gate and up by themselves or in one matrix. */
import { type GatedUnit, type Graph, loraMlp, type Tensor } from "@graft/core"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { splitColumns } from "../ops/splitColumns.ts"
import type { LinearShape, Part } from "./Layer.ts"

/** activation(gate) · up, as `swiglu` is. */
export type Gate = (g: Graph, gate: Tensor, up: Tensor) => Tensor

const down = ({ hiddenSize, intermediateSize, mlpBias }: LlamaConfig): LinearShape => ({
  module: "mlp.down_proj",
  outFeatures: hiddenSize,
  inFeatures: intermediateSize,
  bias: mlpBias
})

/** `gate_proj` and `up_proj`: one op where all three are frozen weights with adapters and nothing lies between. */
export const gatedMlp = (unit: GatedUnit): Part => ({
  linears: (config) => {
    const { intermediateSize: outFeatures, hiddenSize: inFeatures, mlpBias: bias } = config
    return [
      { module: "mlp.gate_proj", outFeatures, inFeatures, bias },
      { module: "mlp.up_proj", outFeatures, inFeatures, bias },
      down(config)
    ]
  },
  norms: () => [],
  forward: ({ g, config, linear, adapted }, x) => {
    const [gate, up, down] = [adapted("mlp.gate_proj", x), adapted("mlp.up_proj", x), adapted("mlp.down_proj", x)]
    return config.mlpBias || gate === undefined || up === undefined || down === undefined
      ? linear("mlp.down_proj", unit(g, linear("mlp.gate_proj", x), linear("mlp.up_proj", x)))
      : loraMlp(g, x, gate, up, down, unit)
  }
})

/** `gate_up_proj`: the rows of the gate, then those of up (Phi-3). */
export const fusedGatedMlp = (gate: Gate): Part => ({
  linears: (config) => [
    {
      module: "mlp.gate_up_proj",
      outFeatures: 2 * config.intermediateSize,
      inFeatures: config.hiddenSize,
      bias: config.mlpBias
    },
    down(config)
  ],
  norms: () => [],
  forward: ({ g, linear, config: { intermediateSize: width } }, x) => {
    const [of, up] = splitColumns(g, linear("mlp.gate_up_proj", x), [width, width])
    return linear("mlp.down_proj", gate(g, of, up!)) // as many as widths
  }
})
