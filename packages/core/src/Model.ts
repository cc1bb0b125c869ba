/**
 * The contract between a model and everything else: named linears under Hugging Face's paths, a forward pass, and a
 * residency around each layer. An adapter replaces a linear by path; it sees weights and paths, never the model.
 */

import type { PageTraffic } from "./Optimizer.ts"
import type { Matrix } from "./ops/linear.ts"
import type { AdapterSegment } from "./ops/loraLinear.ts"
import type { ParameterSpec } from "./ParameterArena.ts"
import type { Queue } from "./Queue.ts"
import type { Graph } from "./Tape.ts"
import type { Scope, Tensor } from "./Tensor.ts"
import type { Codec } from "./Weight.ts"

/** One micro-batch on the device: documents end to end, no batch axis, no padding. */
export interface Batch {
  /** i32 [tokens] */
  readonly ids: Tensor
  /** i32 [tokens]: what each position must predict; below 0: not learnt. */
  readonly targets: Tensor
  /** How many targets are learnt, as the host knows it: the head need not see more rows. */
  readonly supervised?: number
  /** i32 [documents, 4], see ops/attention.ts. */
  readonly segments: Tensor
  /** i32 [tokens, 2]: (sample, position in its document). */
  readonly rowKeys: Tensor
  readonly seed: number
  readonly step: number
  /** Dropout acts only when training. */
  readonly training: boolean
}

/** A linear of the model. A bias lies outside: no adapter need know of it. */
export interface Linear {
  readonly path: string
  readonly weight: Matrix
  readonly forward: (g: Graph, x: Tensor, batch: Batch) => Tensor
  /**
   * Where `forward` is loraLinear over a frozen weight: its adapter for rows [start, start + rows) of the batch, so that
   * others may be put beside it, or several linears into one op.
   */
  readonly segments?: (batch: Batch, start: number, rows: number) => ReadonlyArray<AdapterSegment>
}

export class LinearTable {
  readonly #linears = new Map<string, Linear>()
  add(linear: Linear): void {
    this.#linears.set(linear.path, linear)
  }
  get(path: string): Linear {
    const found = this.#linears.get(path)
    if (found === undefined)
      throw new RangeError(`no linear at ${path}; there are ${[...this.#linears.keys()].join(", ")}`)
    return found
  }
  replace(path: string, by: (old: Linear) => Linear): void {
    this.#linears.set(path, by(this.get(path)))
  }
  /** All linears, or those whose path begins with `prefix`. */
  under(prefix = ""): ReadonlyArray<Linear> {
    return [...this.#linears.values()].filter((l) => l.path.startsWith(prefix))
  }
}

/**
 * Called around each layer, in the forward pass and again around its backward: weights may come and go between. A streamed
 * tensor keeps its identity and changes its cell (Tensor.moveTo).
 */
export interface Residency {
  readonly enter: (layer: string) => void
  readonly leave: (layer: string) => void
}
/** The origin of what a residency enqueues: no part of what a run computes. */
export const RESIDENCY = "residency"
export const alwaysResident: Residency = { enter: () => {}, leave: () => {} }

/** Keys and values of earlier tokens, [capacity, kvHeads·headDim] a layer. A forward pass writes its own behind `length`. */
export interface KeyValueCache {
  readonly layers: ReadonlyArray<{ readonly keys: Tensor; readonly values: Tensor }>
  readonly length: number
}
export interface ForwardOptions {
  readonly residency?: Residency
  /** Recompute layers in backward instead of keeping their activations: all, or so many from the first on. */
  readonly checkpointing?: boolean | number
  /** Layers, from the first on, whose attention is computed again, be the rest of them or not; left out: as many. */
  readonly attentionAgain?: number | undefined
  readonly cache?: KeyValueCache
}

/** What a model is, known before any weight is read. */
export interface ModelDescription {
  /** A path, or a repository of the Hub, `org/name`, with the revision that was asked for. */
  readonly name: string
  readonly revision?: string
  readonly vocabularySize: number
  readonly maxPositions: number
  readonly layers: ReadonlyArray<string>
  /** Every linear's path with its shape [out, in]; the output head is named, since "all-linear" leaves it out. */
  readonly linears: ReadonlyArray<{ readonly path: string; readonly outFeatures: number; readonly inFeatures: number }>
  readonly head: string
  /** Per layer: the width of a token's keys, for the cache. */
  readonly keyValueWidth: number
  /** c: logits are c · tanh(logits / c); left out: as they come from the head. */
  readonly logitSoftCap?: number
}
export interface Model {
  readonly description: ModelDescription
  readonly linears: LinearTable
  readonly head: Matrix
  /** The base tensors that are trained in full: laid out beside the adapter's parameters, then bound. */
  readonly trained: ReadonlyArray<ParameterSpec>
  readonly bindTrained: (parameter: (path: string) => Tensor) => void
  /** Normed hidden states [tokens, hidden]. */
  readonly forward: (g: Graph, batch: Batch, options?: ForwardOptions) => Tensor
  /** What weights that stream have moved since it was last asked, as of this point of the program. */
  readonly traffic?: () => Promise<PageTraffic>
}

/** One tensor arrived: progress, and a place to wait for the device. */
export interface Loaded {
  readonly path: string
  readonly bytes: number
}
/**
 * Builds a model on any queue, the meta queue too: nothing is read there. A generator, so that whoever drives it may wait
 * for the device between two tensors. `trained` paths are neither encoded nor kept as weights.
 */
export type LoadModel = (
  queue: Queue,
  scope: Scope,
  codec: Codec,
  trained: (path: string) => boolean
) => Generator<Loaded, Model, void>

/** Runs a load to its end without waiting: for the meta queue. */
export const loadAtOnce = <A>(load: Generator<unknown, A, void>): A => {
  for (;;) {
    const next = load.next()
    if (next.done === true) return next.value
  }
}
