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

/** Norms and linears as they lie in a checkpoint: each half behind the norm of its input. */
export const modulesOf = (
  { residual, attention, mlp }: Block,
  config: LlamaConfig
): ReadonlyArray<LinearShape | NormShape> => {
  const [first, ...rest] = residual.norms(config)
  return [
    ...(first === undefined ? [] : [first]),
    ...attention.linears(config),
    ...attention.norms(config),
    ...rest,
    ...mlp.linears(config),
    ...mlp.norms(config)
  ]
}
