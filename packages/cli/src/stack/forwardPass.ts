/** Documents through a model without gradients; logits are never whole anywhere. */
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
import { scoreOf } from "@graft/trainer"

export interface Engine {
  readonly compute: ActivationDType
  readonly overrides: Overrides
}
export interface ForwardPass extends Disposable {
  readonly tokens: number
  /** f32 [rows, vocabulary], the tokens from `row` on. */
  readonly logits: (row: number, rows: number) => Promise<Float32Array>
  /** f32 [tokens] each: −log p(target) in nats, and 1 where the target is the most likely token; 0 where there is none. */
  readonly scores: () => Promise<readonly [losses: Float32Array, hits: Float32Array]>
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
  const batch = collate(inBatch, documents, { seed: 0, step: 0, training: false })
  const hidden = model.forward(g, batch)
  return {
    tokens: hidden.rows,
    logits: (row, rows) => {
      using inChunk = new Scope(queue, "activations")
      const logits = inChunk.tensor([rows, outFeatures(model.head)], "logits", "f32")
      applyHead(g, logits, hidden, model, { xRow: row, rows })
      return queue.read(logits)
    },
    scores: () => {
      const { supervised, targets } = batch
      const softCap = model.description.logitSoftCap
      const { losses, hits } = scoreOf(g, hidden, model.head, targets, { softCap, supervised })
      return Promise.all([queue.read(losses), queue.read(hits)])
    },
    [Symbol.dispose]: () => {
      g[Symbol.dispose]()
      inBatch[Symbol.dispose]()
    }
  }
}

/** Memory of a load and of one pass of each shape, of which the logits are read or what `read` reads. */
export const planForward = (
  limits: Limits,
  assembly: Assembly,
  engine: Engine,
  batches: ReadonlyArray<MicroBatch>,
  read?: (pass: ForwardPass) => Promise<unknown>
): MemoryPlan => {
  const queue = new MetaQueue(limits)
  using scope = new Scope(queue, "weights")
  const { model } = loadAtOnce(assemble(queue, scope, assembly))
  const rows = rowsAtOnce(model.description.vocabularySize)
  for (const documents of new Map(batches.map((b) => [shapeOf(b), b])).values()) {
    using pass = forwardPass(queue, model, engine, documents)
    const wanted = read?.(pass) ?? pass.logits(0, Math.min(tokensIn(documents), rows))
    wanted.catch(() => {}) // the meta queue has no values
  }
  return queue.plan
}
