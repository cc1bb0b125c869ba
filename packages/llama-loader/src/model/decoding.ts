/** Text out of a model: a cache of keys and values, fed a prompt at once and then one token at a time. */
import {
  type ActivationDType,
  applyHead,
  type Batch,
  Graph,
  type KeyValueCache,
  type Model,
  type Overrides,
  outFeatures,
  type Queue,
  Scope,
  type Tensor
} from "@graft/core"

export interface Decoder extends Disposable {
  /** Feeds tokens and gives the logits [vocabulary] of the place after the last of them. */
  readonly feed: (ids: ReadonlyArray<number>) => Promise<Float32Array>
  readonly length: number
}
export interface DecoderOptions {
  /** Tokens that fit in the cache, prompt included. */
  readonly capacity: number
  readonly compute: ActivationDType
  readonly overrides: Overrides
}

/** One sequence on the device, tokens [start, start + ids.length) of it; its keys lie in a cache from row 0. */
const stretch = (scope: Scope, ids: ReadonlyArray<number>, start: number): Batch => {
  const i32 = (name: string, shape: ReadonlyArray<number>, values: () => ReadonlyArray<number>) => {
    const t = scope.tensor(shape, name, "i32")
    scope.queue.upload(t, values)
    return t
  }
  const n = ids.length
  return {
    ids: i32("ids", [n], () => ids),
    targets: i32("targets", [n], () => Array<number>(n).fill(-1)),
    segments: i32("segments", [1, 4], () => [0, n, 0, start + n]),
    rowKeys: i32("rowKeys", [n, 2], () => ids.flatMap((_, i) => [0, start + i])),
    seed: 0,
    step: 0,
    training: false
  }
}

export const makeDecoder = (queue: Queue, model: Model, { capacity, compute, overrides }: DecoderOptions): Decoder => {
  const scope = new Scope(queue, "activations")
  const width = model.description.keyValueWidth
  const layers = model.description.layers.map((layer) => ({
    keys: scope.tensor([capacity, width], `${layer} keys`, compute),
    values: scope.tensor([capacity, width], `${layer} values`, compute)
  }))
  let length = 0
  return {
    get length() {
      return length
    },
    feed: (ids) => {
      if (length + ids.length > capacity) {
        return Promise.reject(
          new RangeError(
            `decoding: ${length + ids.length} tokens do not fit a cache of ${capacity}; ask for fewer new tokens`
          )
        )
      }
      using inBatch = new Scope(queue, "activations")
      using g = new Graph(queue, { overrides, activations: compute })
      const cache: KeyValueCache = { layers, length }
      const hidden = model.forward(g, stretch(inBatch, ids, length), { cache })
      const logits = g.tensor([1, outFeatures(model.head)], "logits", "f32")
      applyHead(g, logits, hidden, model, { xRow: ids.length - 1, rows: 1 })
      length += ids.length
      return queue.read(logits)
    },
    [Symbol.dispose]: () => scope[Symbol.dispose]()
  }
}

/** Logits f32 [tokens, vocabulary] of one sequence, `rows` at a time, so that they are never whole on the device. */
export const eachLogits = async (
  queue: Queue,
  model: Model,
  ids: ReadonlyArray<number>,
  { compute, overrides, rows = 256 }: Omit<DecoderOptions, "capacity"> & { readonly rows?: number },
  visit: (logits: Float32Array, firstRow: number) => void | Promise<void>
): Promise<void> => {
  const inBatch = new Scope(queue, "activations")
  const g = new Graph(queue, { overrides, activations: compute })
  try {
    const hidden = model.forward(g, stretch(inBatch, ids, 0))
    for (let row = 0; row < ids.length; row += rows) await visit(await chunk(g, model, hidden, row, rows), row)
  } finally {
    g[Symbol.dispose]()
    inBatch[Symbol.dispose]()
  }
}
const chunk = (g: Graph, model: Model, hidden: Tensor, row: number, rows: number): Promise<Float32Array> => {
  const count = Math.min(rows, hidden.rows - row)
  using inChunk = new Scope(g.queue, "activations")
  const logits = inChunk.tensor([count, outFeatures(model.head)], "logits")
  applyHead(g, logits, hidden, model, { xRow: row, rows: count })
  return g.queue.read(logits)
}
