/** A fused pair beside its composed twin: one call of each on the same tensors, run on any queue. */
import {
  type ActivationDType,
  addInto,
  addTo,
  type DType,
  denseCodec,
  Graph,
  type Into,
  type Override,
  type Queue,
  Routed,
  Scope,
  sizeOf,
  sourceOf,
  type Tensor,
  type Weight
} from "@graft/core"

export const sides = ["composed", "fused"] as const
export type Side = (typeof sides)[number]

export interface PairCase {
  readonly pair: string
  readonly shape: string
  /** Multiplications and additions of forward and backward: of what is read later, whatever a side computes. */
  readonly flops?: number
  /** Where memory is the limit: what forward and backward must read and write, at `size` bytes a number of an activation. */
  readonly bytes?: (size: number) => number
  readonly prepare: (maker: Maker) => Pair
}
/** What there is to compare: read at this point of the program. */
export interface Compared {
  readonly values: ReadonlyArray<Promise<Float32Array>>
  readonly gradients: ReadonlyArray<Promise<Float32Array>>
}
/** One forward and backward; only `reading` gives something to compare. */
export type Pair = (side: Side, reading: boolean) => Compared

/** The op of commands that belong to neither side: they bring inputs and fetch gradients. */
export const INPUTS = "inputs"

/** Numbers in [−1, 1) of a period that no shape divides. */
const pattern = Float32Array.from({ length: 65_521 }, (_, i) => {
  const s = Math.sin(12.9898 * (i + 1)) * 43758.5453
  return 2 * (s - Math.floor(s)) - 1
})
const patterned = (size: number, scale: number, phase: number): Float32Array => {
  const values = new Float32Array(size)
  for (let i = 0; i < size; i++) values[i] = scale * pattern[(i + phase) % pattern.length]!
  return values
}

/** Makes the tensors of a case, the same numbers on every queue. */
export class Maker {
  readonly queue: Queue
  readonly scope: Scope
  readonly activations: ActivationDType
  /** Trained tensors and where their gradients go. */
  readonly leaves = new Map<Tensor, Tensor>()
  #made = 0
  constructor(queue: Queue, activations: ActivationDType) {
    this.queue = queue
    this.scope = new Scope(queue, "weights")
    this.activations = activations
  }
  tensor(name: string, shape: ReadonlyArray<number>, scale = 1, dtype: DType = this.activations): Tensor {
    const t = this.scope.tensor(shape, name, dtype)
    const phase = 7919 * this.#made++
    this.queue.upload(t, () => patterned(t.size, scale, phase))
    return t
  }
  given(name: string, shape: ReadonlyArray<number>, dtype: DType, values: (i: number) => number): Tensor {
    const t = this.scope.tensor(shape, name, dtype)
    this.queue.upload(t, () => Array.from({ length: t.size }, (_, i) => values(i)))
    return t
  }
  trained(name: string, shape: ReadonlyArray<number>, scale = 1, dtype: DType = this.activations): Tensor {
    const t = this.tensor(name, shape, scale, dtype)
    this.leaves.set(t, this.scope.tensor(shape, `d ${name}`, dtype))
    return t
  }
  /** Dense, bf16, of about the size of a trained model's. */
  frozen(out: number, inner: number): Weight {
    const phase = 7919 * this.#made++
    const values = () => patterned(sizeOf([out, inner]), 1 / Math.sqrt(inner), phase)
    return denseCodec().encode(sourceOf("w", [out, inner], values, "bf16"), this.scope, "w")
  }

  /** x as another op's output, whose gradient may lie where it arrives. */
  arriving(g: Graph, x: Tensor): Tensor {
    const copy = {
      forward: (inside: Graph, t: Tensor) => {
        const out = inside.tensor(t.shape, t.name)
        addInto(inside, out, t)
        return { out, saved: { t: new Routed(t) } }
      },
      backward: (inside: Graph, dy: Tensor, { t }: { readonly t: Routed }, into: Into) =>
        addTo(inside, into(t.tensor), dy)
    }
    return g.record(INPUTS, copy, [x] as const)
  }

  /** The pair of a graph's op: `apply` with the overrides of a side, and a gradient for each of its outputs. */
  graph(
    composed: ReadonlyArray<Override>,
    fused: ReadonlyArray<Override>,
    apply: (g: Graph) => ReadonlyArray<Tensor>
  ): Pair {
    const { queue, leaves } = this
    const tables = { composed, fused }
    const one = this.scope.tensor([1], "one")
    queue.upload(one, () => [1])
    const dys: Array<Tensor> = []
    const dyOf = (t: Tensor, i: number): Tensor => {
      dys[i] ??= this.tensor(`dy ${i}`, t.shape, 1, t.dtype)
      return dys[i]
    }
    const join = {
      forward: (inside: Graph, ...all: ReadonlyArray<Tensor>) => ({
        out: inside.tensor([1], "joined", "f32"),
        saved: { all: all.map((t) => new Routed(t)) }
      }),
      backward: (inside: Graph, _: Tensor, { all }: { readonly all: ReadonlyArray<Routed> }, into: Into) => {
        for (const [i, { tensor }] of all.entries()) addTo(inside, into(tensor), dyOf(tensor, i))
      }
    }
    return (side, reading) => {
      const overrides = new Map(tables[side].map((pair) => [pair.op, pair]))
      using g = new Graph(queue, { overrides, activations: this.activations })
      g.watch(...leaves.keys())
      let values: ReadonlyArray<Promise<Float32Array>> = []
      // As within a layer: what no backward reads is freed when the next op has read it.
      const root = g.scoped(() => {
        const outs = apply(g)
        if (reading) values = outs.map((t) => queue.read(t))
        return g.record(INPUTS, join, outs)
      })
      const written = new Set<Tensor>()
      g.backward(root, one, (t) => {
        const accumulate = written.has(t)
        written.add(t)
        return { tensor: leaves.get(t)!, accumulate }
      })
      return { values, gradients: reading ? [...leaves.values()].map((t) => queue.read(t)) : [] }
    }
  }
}
