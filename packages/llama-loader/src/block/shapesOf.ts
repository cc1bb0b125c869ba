/** What a block consists of, all its parts together. */
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import type { Block, LinearShape, NormShape } from "./Layer.ts"

/** In the order of a forward pass. */
export const linearsOf = ({ attention, mlp }: Block, config: LlamaConfig): ReadonlyArray<LinearShape> => [
  ...attention.linears(config),
  ...mlp.linears(config)
]
export const normsOf = ({ residual, attention, mlp }: Block, config: LlamaConfig): ReadonlyArray<NormShape> => [
  ...residual.norms(config),
  ...attention.norms(config),
  ...mlp.norms(config)
]
