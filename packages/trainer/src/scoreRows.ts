/** Held-out rows: the loss of each and whether its target is ranked first, from logits that are never whole. */
import {
  applyMatrix,
  crossEntropyRows,
  fill,
  type Graph,
  type Matrix,
  outFeatures,
  type Tensor,
  topIsTarget
} from "@graft/core"

/** Logits that exist at one time, in elements: 32 MiB of f32, as in training. */
const CHUNK_ELEMENTS = 1 << 23

/** losses and hits, f32 [tokens]; 0 where a target is below 0. hidden [tokens, hidden], head [vocabulary, hidden]. */
export const scoreRows = (g: Graph, hidden: Tensor, head: Matrix, targets: Tensor, softCap = 0) => {
  const losses = g.tensor([hidden.rows], "losses", "f32")
  const hits = g.tensor([hidden.rows], "hits", "f32")
  g.run(fill, [hits], { value: 0 })
  const vocab = outFeatures(head)
  const chunk = Math.max(1, Math.floor(CHUNK_ELEMENTS / vocab))
  for (let row0 = 0; row0 < hidden.rows; row0 += chunk) {
    const rows = Math.min(chunk, hidden.rows - row0)
    const logits = g.tensor([rows, vocab], "logits", "f32")
    applyMatrix(g, logits, hidden, head, { xRow: row0, rows })
    g.run(topIsTarget, [hits, logits, targets], { row0, rows, vocab })
    g.run(crossEntropyRows, [losses, logits, targets], { row0, rows, vocab, gradient: false, softCap, smoothing: 0 })
    g.release(logits)
  }
  return { losses, hits }
}
