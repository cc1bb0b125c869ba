/**
 * The parts that a decoder layer is put together from. A family's file chooses them (architectures/), the model runs them
 * (model/llamaModel.ts); a part knows neither weights nor adapters, only the names of its linears and norms.
 */
import type { AdaptedWeight, Graph, Tensor } from "@graft/core"
import type { LlamaConfig } from "../config/LlamaConfig.ts"

/** A linear of a layer: W [out, in] under Hugging Face's name, after `model.layers.N.`. */
export interface LinearShape {
  readonly module: string
  readonly outFeatures: number
  readonly inFeatures: number
  readonly bias: boolean
}
/** An RMSNorm of a layer: its gain has `width` numbers. */
export interface NormShape {
  readonly module: string
  readonly width: number
}

/** One layer in one forward pass, as its parts see it. */
export interface Layer {
  readonly g: Graph
  readonly config: LlamaConfig
  /** With its adapter and its bias. */
  readonly linear: (module: string, x: Tensor) => Tensor
  /** A linear as a term of an op over several, without its bias; undefined where it is none, since it is trained or an adapter has its own forward. */
  readonly adapted: (module: string, x: Tensor) => AdaptedWeight | undefined
  /** y with the linear's bias, where it has one. */
  readonly biased: (module: string, y: Tensor) => Tensor
  /** Rows of x, or the heads in them where the gain is as wide as a head. */
  readonly norm: (module: string, x: Tensor) => Tensor
  /** x + y, and the norm of it. */
  readonly addNorm: (module: string, x: Tensor, y: Tensor) => readonly [sum: Tensor, normed: Tensor]
  /** Rotary embedding of x [tokens, heads·headDim]; x itself in a layer that has none. */
  readonly turn: (x: Tensor, heads: number) => Tensor
  /** Attention in this layer's window, over the cached keys too. */
  readonly attend: (q: Tensor, k: Tensor, v: Tensor) => Tensor
}

/** Half a layer, [tokens, hidden] → [tokens, hidden], and what it consists of in the order of a forward pass. */
export interface Part {
  readonly linears: (config: LlamaConfig) => ReadonlyArray<LinearShape>
  readonly norms: (config: LlamaConfig) => ReadonlyArray<NormShape>
  readonly forward: (layer: Layer, x: Tensor) => Tensor
}

/** How the halves join the residual stream. */
export interface Residual {
  readonly norms: (config: LlamaConfig) => ReadonlyArray<NormShape>
  readonly forward: (layer: Layer, x: Tensor, attention: Part, mlp: Part) => Tensor
}

export interface Block {
  readonly attention: Part
  readonly mlp: Part
  readonly residual: Residual
}
