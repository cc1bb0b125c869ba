/**
 * NEFTune (arXiv:2310.05914): while training, noise uniform in ±alpha / √(L · d) is added to each token's embedding, L being
 * the tokens of its document and d their width. It is a function of (seed, step, row, position, column), so that a run that
 * goes on, a packed one and any split into micro-batches draw the same.
 */
import {
  addInto,
  type Batch,
  definePrimitive,
  embedding,
  type Graph,
  inFeatures,
  type Matrix,
  type MicroBatch,
  type Override,
  type Overrides,
  Routed,
  type Scope,
  siteOf,
  type Tensor,
  uniformNoise
} from "@graft/core"

const SITE = siteOf("neftune")

/** x [tokens, hidden] + noise by row, of the sizes [tokens]. */
const noisy = definePrimitive("neftune", {
  forward: (g, x: Tensor, { rowKeys, seed, step }: Batch, sizes: Tensor) => {
    const out = g.tensor(x.shape, "noisy embedding")
    g.run(uniformNoise, [out, x, rowKeys, sizes], { seed, step, site: SITE })
    return { out, saved: { x: new Routed(x) } }
  },
  backward: (g, dy, { x }, into) => {
    if (into.pass(x.tensor, dy)) return
    const dx = into(x.tensor)
    if (dx !== undefined) addInto(g, dx.tensor, dy, { accumulate: dx.accumulate })
  }
})

/** The op table with an embedding that adds the noise of this micro-batch to what the one below gives. */
export const withNoise = (
  below: Overrides,
  scope: Scope,
  documents: MicroBatch,
  batch: Batch,
  alpha: number
): Overrides => {
  const { opName } = embedding
  const overrides = new Map(below)
  const body = (g: Graph, w: Matrix, ids: Tensor): Tensor =>
    g.scoped(() => {
      const before = below.get(opName)
      if (before === undefined) overrides.delete(opName)
      else overrides.set(opName, before)
      const plain = embedding(g, w, ids)
      overrides.set(opName, entry)
      const sizes = scope.tensor([ids.size], "neftune sizes", "f32")
      scope.queue.upload(sizes, () =>
        documents.flatMap(({ ids: { length } }) =>
          Array<number>(length).fill(alpha / Math.sqrt(length * inFeatures(w)))
        )
      )
      return noisy(g, plain, batch, sizes)
    })
  const entry: Override = { op: opName, implementation: "neftune", body: body as Override["body"] } // embedding's arguments
  return overrides.set(opName, entry)
}
