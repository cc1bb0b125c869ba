/**
 * Logits of a chunk in f32 and, where the recipe computes in fewer bits, their gradient rounded over them, so that the head
 * multiplies in the recipe's dtype: half as wide, row t of it lies over row t / 2 of what it is of. A stretch of rows is
 * done at a time, for which the stretch before made room; the first one lies before the first logit.
 */
import { addInto, bytesOf, type Graph, Tensor } from "@graft/core"
import { type ChunkBuffer, chunkBuffer } from "./chunkBuffer.ts"

/** Rows of f32 that the first stretch takes. Stretches of bf16 are [0, 8), [8, 24), [24, 56) …: few, and a row may be long. */
const ROWS_AHEAD = 4

interface Stretch {
  readonly from: number
  readonly logits: Tensor
  /** Where their gradient goes; the logits themselves, unless it is rounded over earlier ones. */
  readonly gradient: Tensor
}
export interface LogitsBuffer extends ChunkBuffer {
  /** Of the rows that were taken, in order. */
  readonly stretches: () => ReadonlyArray<Stretch>
  /** All of the gradient, in the recipe's dtype, once each stretch has its own. */
  readonly gradient: () => Tensor
}
export const logitsBuffer = (g: Graph, mostRows: number, vocab: number, rounds: boolean): LogitsBuffer => {
  const dtype = g.activations
  const over = rounds && g.queue.limits.views
  const ahead = over ? ROWS_AHEAD : 0
  const whole = chunkBuffer(g, ahead + mostRows, vocab, "logits", "f32")
  const apart = rounds && !over ? chunkBuffer(g, mostRows, vocab, "d(logits)") : undefined
  let [logits, gradient]: Array<Tensor> = []
  return {
    take: (rows) => {
      const room = whole.take(ahead + rows)
      logits = over ? room.range(ahead * vocab, [rows, vocab], "logits") : room
      gradient = over ? new Tensor(logits.shape, dtype, "d(logits)", room.cell, undefined) : logits
      return logits
    },
    stretches: () => {
      const [of, to] = [logits!, gradient!]
      if (!over) return [{ from: 0, logits: of, gradient: to }]
      const all: Array<Stretch> = []
      for (let from = 0, end = 0; from < of.rows; from = end) {
        end = Math.min(of.rows, (from + ROWS_AHEAD) * (bytesOf.f32 / bytesOf[dtype]))
        const part = (t: Tensor) => t.range(from * vocab, [end - from, vocab], t.name)
        all.push({ from, logits: part(of), gradient: part(to) })
      }
      return all
    },
    gradient: () => {
      if (apart === undefined) return gradient!
      const out = apart.take(logits!.rows)
      addInto(g, out, logits!)
      return out
    },
    give: () => {
      for (const buffer of [whole, apart]) buffer?.give()
    },
    free: () => {
      for (const buffer of [whole, apart]) buffer?.free()
    }
  }
}
