/** Documents through a model without gradients, their logits read a few rows at a time: they are never whole anywhere. */
import {
  type ActivationDType,
  type Assembly,
  applyHead,
  assemble,
  collate,
  Graph,
  type Limits,
  loadAtOnce,
  type MemoryPlan,
  MetaQueue,
  type MicroBatch,
  type Model,
  type Overrides,
  outFeatures,
  type Queue,
  Scope,
  shapeOf,
  tokensIn
} from "@graft/core"

export interface Engine {
  readonly compute: ActivationDType
  readonly overrides: Overrides
}
export interface ForwardPass extends Disposable {
  readonly tokens: number
  /** f32 [rows, vocabulary], the tokens from `row` on. */
  readonly logits: (row: number, rows: number) => Promise<Float32Array>
}

/** Logits that are read at a time: 4 Mi numbers, 16 MiB. */
export const rowsAtOnce = (vocabularySize: number): number => Math.max(1, Math.floor(2 ** 22 / vocabularySize))

/** Enqueues the pass; the hidden states live until it is disposed of. */
export const forwardPass = (
  queue: Queue,
  model: Model,
  { compute, overrides }: Engine,
  documents: MicroBatch
): ForwardPass => {
  const inBatch = new Scope(queue, "activations")
  const g = new Graph(queue, { overrides, activations: compute })
  const hidden = model.forward(g, collate(inBatch, documents, { seed: 0, step: 0, training: false }))
  return {
    tokens: hidden.rows,
    logits: (row, rows) => {
      using inChunk = new Scope(queue, "activations")
      const logits = inChunk.tensor([rows, outFeatures(model.head)], "logits", "f32")
      applyHead(g, logits, hidden, model, { xRow: row, rows })
      return queue.read(logits)
    },
    [Symbol.dispose]: () => {
      g[Symbol.dispose]()
      inBatch[Symbol.dispose]()
    }
  }
}

/** Memory of a load and of one pass of each shape. */
export const planForward = (
  limits: Limits,
  assembly: Assembly,
  engine: Engine,
  batches: ReadonlyArray<MicroBatch>
): MemoryPlan => {
  const queue = new MetaQueue(limits)
  using scope = new Scope(queue, "weights")
  const { model } = loadAtOnce(assemble(queue, scope, assembly))
  for (const documents of new Map(batches.map((b) => [shapeOf(b), b])).values()) {
    using pass = forwardPass(queue, model, engine, documents)
    const rows = Math.min(tokensIn(documents), rowsAtOnce(model.description.vocabularySize))
    pass.logits(0, rows).catch(() => {}) // the meta queue has no values
  }
  return queue.plan
}
