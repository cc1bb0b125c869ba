/**
 * The loss of each row and whether its target is ranked first, without gradients: rows with a target are laid side by side
 * and go through the head chunk by chunk, the others not at all. Logits are never whole.
 *
 *   order = the tokens with a target, then the others     ranks = its inverse                        i32 [tokens]
 *   losses[t] = losses'[ranks[t]], hits[t] likewise       0 where ranks[t] is not below the learnt rows
 *
 * How many rows are learnt is data, and memory must not depend on it: a chunk's buffers are as large as if all were. A row of
 * a product does not depend on its company (docs/kernels.md, Bits), so what a row gets is what it would get among all rows,
 * bit for bit, unless a chunk has 8 rows or fewer.
 */
import {
  applyMatrix,
  crossEntropyRows,
  fill,
  type Graph,
  learntOrder,
  type Matrix,
  outFeatures,
  type Tensor,
  takeRows,
  topIsTarget
} from "@graft/core"

/** Logits that exist at one time, in elements: 32 MiB of f32, as in training. */
const CHUNK_ELEMENTS = 1 << 23

export interface Scoring {
  readonly softCap?: number | undefined
  /** How many targets are 0 or more; left out: maybe all. */
  readonly supervised?: number | undefined
}
/** losses and hits, f32 [tokens]; 0 where a target is below 0. hidden [tokens, hidden], head [vocabulary, hidden]. */
export const scoreOf = (
  g: Graph,
  hidden: Tensor,
  head: Matrix,
  targets: Tensor,
  { softCap = 0, supervised = targets.size }: Scoring
): { readonly losses: Tensor; readonly hits: Tensor } => {
  const tokens = hidden.rows
  const { views } = g.queue.limits
  const count = views ? Math.min(tokens, Math.max(1, supervised)) : tokens // else a chunk's memory is as large as the chunk
  const vocab = outFeatures(head)
  const most = Math.min(tokens, Math.max(1, Math.floor(CHUNK_ELEMENTS / vocab)))
  const per = (name: string, dtype: "f32" | "i32" = "f32") => g.tensor([tokens], name, dtype)
  const [order, ranks, own] = [per("learnt first", "i32"), per("their ranks", "i32"), per("their targets", "i32")]
  const [found, ranked] = [per("losses of the learnt"), per("hits of the learnt")]
  g.run(learntOrder, [order, ranks, targets], null)
  g.run(takeRows, [own, targets, order], { from: 0, limit: tokens })
  g.run(fill, [ranked], { value: 0 })
  const chunks = Math.ceil(count / most)
  for (let i = 0; i < chunks; i++) {
    // Of even sizes: a last one of a few rows would take nearly as long as a whole one.
    const row0 = Math.floor((i * count) / chunks)
    const rows = Math.floor(((i + 1) * count) / chunks) - row0
    const room = views ? most : rows
    const buffers = [g.tensor([room, hidden.columns], "rows", hidden.dtype), g.tensor([room, vocab], "logits", "f32")]
    const [part, logits] = buffers.map((t) => (views ? t.range(0, [rows, t.columns], t.name) : t)) as [Tensor, Tensor] // map keeps the length
    g.run(takeRows, [part, hidden, order], { from: row0, limit: tokens })
    applyMatrix(g, logits, part, head)
    g.run(topIsTarget, [ranked, logits, own], { row0, rows, vocab })
    g.run(crossEntropyRows, [found, logits, own], { row0, rows, vocab, gradient: false, softCap, smoothing: 0 })
    for (const t of buffers) g.release(t)
  }
  const [losses, hits] = [per("losses"), per("hits")]
  for (const [out, of] of [
    [losses, found],
    [hits, ranked]
  ] as const)
    g.run(takeRows, [out, of, ranks], { from: 0, limit: count })
  for (const t of [order, ranks, own, found, ranked]) g.release(t)
  return { losses, hits }
}
