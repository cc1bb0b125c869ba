/**
 * The fused pair for `linearCrossEntropy`: only supervised rows go through the head. Where `supervised` says that n of the
 * tokens are learnt, their rows are laid side by side, n rows are multiplied, and results are brought back to their places:
 *
 *   order    = the tokens with a target, then the others       ranks = its inverse            i32 [tokens]
 *   x' [n]   = x[order[r]]                                      chunk by chunk, never whole
 *   losses[t] = losses'[ranks[t]]                               0 where ranks[t] ≥ n
 *   dx[t]    = dy[t] · dx'[ranks[t]]                            likewise: nothing is zeroed beforehand
 *
 * A completion-only run, where a third of the tokens is learnt, saves two thirds of the head's three products. How many rows
 * are learnt is data, and memory must not depend on it: a chunk's buffers are as large as if all were, and only their first
 * rows are used. A row of a product does not depend on its company (docs/kernels.md, Bits), so losses and dx are those of the
 * composed twin, core's ops/linearCrossEntropy.ts, bit for bit, unless a chunk has 8 rows or fewer; the gradient of a
 * trained head is a sum of other slices. (Liger Kernel, arXiv:2410.10989 §3, divides by chunks likewise, all rows in.)
 */
import {
  applyMatrix,
  applyMatrixTransposed,
  bytesOf,
  crossEntropyRows,
  type Graph,
  gemm,
  type LossOptions,
  learntOrder,
  linearCrossEntropy,
  type Matrix,
  outFeatures,
  override,
  plainGemm,
  Routed,
  scaleRows,
  Tensor,
  takeRows,
  takeScaledRows
} from "@graft/core"
import { chunkBuffer } from "./chunkBuffer.ts"
import { logitsBuffer } from "./logitsBuffer.ts"

/**
 * Logits that exist at one time, at least, and two thirds of it where they are rounded. Half of it would slow the head down by
 * an eighth: W is packed for each chunk.
 */
const CHUNK_BYTES = 1 << 25
/** Where a step holds much, this part of it instead. */
const CHUNK_SHARE = 1 / 12
/** Longer chunks are no faster. */
const MOST_ROWS = 384

/**
 * Rows of logits at one time. What the tape holds is the same whenever a step is planned or run, so the plan stays exact, and
 * a recomputed step's small. A trained head's gradient is a sum over chunks: its bits must not depend on what is kept. They are
 * long there, for each reads and writes all of dW; beside W, dW and its moments the logits are small.
 */
const chunkRows = (g: Graph, rows: number, vocab: number, rounds: boolean, trained: boolean): number => {
  const share = trained ? Number.POSITIVE_INFINITY : (g.queue.allocator.live.get("activations") ?? 0) * CHUNK_SHARE
  const least = CHUNK_BYTES / (rounds ? 6 : 4)
  const logits = Math.max(least, Math.min(share / bytesOf.f32, MOST_ROWS * vocab))
  const most = Math.max(1, Math.floor(logits / vocab))
  return Math.ceil(rows / Math.max(1, Math.ceil(rows / most))) // as many as even chunks of all rows take
}

interface Learnt {
  readonly order: Tensor
  readonly ranks: Tensor
  readonly count: number
}
/** At least one row, so that what a chunk takes is taken always; a row without a target has loss and gradient 0. */
const learntOf = (g: Graph, targets: Tensor, { supervised = targets.size }: LossOptions): Learnt => {
  const known = g.queue.limits.views ? supervised : targets.size // else a chunk's memory is as large as the chunk
  const order = g.tensor([targets.size], "learnt first", "i32")
  const ranks = g.tensor([targets.size], "ranks of the learnt", "i32")
  g.run(learntOrder, [order, ranks, targets], null)
  return { order, ranks, count: Math.min(targets.size, Math.max(1, known)) }
}

interface Chunk {
  /** x' [rows, hidden]: only until the next chunk. */
  readonly x: Tensor
  /** [rows, vocabulary] in the recipe's dtype: the gradient of the logits. */
  readonly dLogits: Tensor
  readonly row0: number
  readonly rows: number
}
/** Losses f32 [count …] of the learnt rows, and a visit with the gradient of each chunk's logits where one is given. */
const eachChunk = (
  g: Graph,
  x: Tensor,
  head: Matrix,
  targets: Tensor,
  { order, count }: Learnt,
  { softCap = 0, smoothing = 0 }: LossOptions,
  visit?: (chunk: Chunk) => void
): Tensor => {
  const vocab = outFeatures(head)
  const gradient = visit !== undefined
  const rounds = gradient && g.activations !== "f32" // so that the head multiplies in the recipe's dtype
  const most = chunkRows(g, x.rows, vocab, rounds, head instanceof Tensor && g.needs(head))
  const losses = g.tensor([x.rows], "losses of the learnt", "f32")
  const own = g.tensor([x.rows], "targets of the learnt", "i32")
  g.run(takeRows, [own, targets, order], { from: 0, limit: x.rows })
  const rowsOf = chunkBuffer(g, most, x.columns, "rows of the learnt", x.dtype)
  const logitsOf = logitsBuffer(g, most, vocab, rounds)
  const chunks = Math.ceil(count / most)
  for (let i = 0; i < chunks; i++) {
    // Of even sizes: a last one of a few rows would take nearly as long as a whole one.
    const row0 = Math.floor((i * count) / chunks)
    const rows = Math.floor(((i + 1) * count) / chunks) - row0
    const [part, logits] = [rowsOf.take(rows), logitsOf.take(rows)]
    g.run(takeRows, [part, x, order], { from: row0, limit: x.rows })
    applyMatrix(g, logits, part, head)
    for (const { from, logits: of, gradient: to } of logitsOf.stretches()) {
      const operands = to === of ? [losses, to, own] : [losses, to, own, of]
      const stretch = { row0: row0 + from, rows: of.rows }
      g.run(crossEntropyRows, operands, { ...stretch, vocab, gradient, softCap, smoothing })
    }
    visit?.({ x: part, dLogits: logitsOf.gradient(), row0, rows })
    for (const buffer of [rowsOf, logitsOf]) buffer.give()
  }
  for (const buffer of [rowsOf, logitsOf]) buffer.free()
  g.release(own)
  return losses
}

export const fusedLinearCrossEntropy = override(linearCrossEntropy, {
  forward: (g, x, head, targets, options = {}) => {
    const trained = head instanceof Tensor && g.needs(head)
    const out = g.tensor([x.rows], "losses", "f32")
    const dx = g.needs(x) && !trained ? g.tensor(x.shape, "linearCrossEntropy.dx") : undefined
    const learnt = learntOf(g, targets, options)
    const { order, ranks, count } = learnt
    const pull =
      dx === undefined
        ? undefined
        : ({ dLogits, row0, rows }: Chunk) => applyMatrixTransposed(g, dx, dLogits, head, { yRow: row0, rows })
    const losses = eachChunk(g, x, head, targets, learnt, options, pull)
    g.run(takeRows, [out, losses, ranks], { from: 0, limit: count })
    g.release(losses)
    if (!trained) g.release(order)
    const again = trained ? { x, targets, order } : undefined // what a second pass over the head reads
    return { out, saved: { x: new Routed(x), head, options, ranks, count, dx, again } }
  },
  backward: (g, dy, { x: { tensor: x }, head, options, ranks, count, dx, again }, into) => {
    if (again === undefined) {
      const d = into(x)
      if (d !== undefined && dx !== undefined)
        g.run(takeScaledRows, [d.tensor, dx, dy, ranks], { limit: count, accumulate: d.accumulate })
      return
    }
    const { targets, order } = again
    const own = g.needs(x) ? g.tensor(x.shape, "dx of the learnt") : undefined
    const losses = eachChunk(
      g,
      x,
      head,
      targets,
      { order, ranks, count },
      options,
      ({ x: part, dLogits, row0, rows }) => {
        if (own !== undefined) applyMatrixTransposed(g, own, dLogits, head, { yRow: row0, rows })
        const dw = head instanceof Tensor ? into(head) : undefined
        if (dw === undefined) return
        const scales = g.tensor([rows, 1], "dy of the chunk", "f32")
        g.run(takeRows, [scales, dy, order], { from: row0, limit: x.rows })
        g.run(scaleRows, [dLogits, dLogits, scales], { accumulate: false })
        g.release(scales)
        const sizes = { m: outFeatures(head), k: rows, n: x.columns, ta: true, accumulate: dw.accumulate }
        g.run(gemm, [dw.tensor, dLogits, part], { ...plainGemm, ...sizes })
      }
    )
    g.release(losses)
    const d = into(x)
    if (d !== undefined && own !== undefined)
      g.run(takeScaledRows, [d.tensor, own, dy, ranks], { limit: count, accumulate: d.accumulate })
    if (own !== undefined) g.release(own)
  }
})
