/**
 * Logits of a chunk in f32 and, where the recipe computes in fewer bits, their gradient rounded over them, so that the head
 * multiplies in the recipe's dtype: half as wide, row t of it lies over row t / 2 of what it is of. A stretch of rows is
 * rounded at a time, for which the stretch before made room; the first one lies before the first logit.
 */
import { addInto, bytesOf, type Graph, Tensor } from "@graft/core"
import { type ChunkBuffer, chunkBuffer } from "./chunkBuffer.ts"

/** Rows of f32 that the first stretch takes. Stretches of bf16 are [0, 8), [8, 24), [24, 56) …: few, and a row may be long. */
const ROWS_AHEAD = 4

export interface LogitsBuffer extends ChunkBuffer {
  /** The rows that were taken, as they are now, in the recipe's dtype. The f32 ones are gone then. */
  readonly rounded: () => Tensor
}
export const logitsBuffer = (g: Graph, mostRows: number, vocab: number, rounds: boolean): LogitsBuffer => {
  const dtype = g.activations
  const over = rounds && g.queue.limits.views
  const scale = bytesOf.f32 / bytesOf[dtype]
  const ahead = over ? ROWS_AHEAD : 0
  const whole = chunkBuffer(g, ahead + mostRows, vocab, "logits", "f32")
  const apart = rounds && !over ? chunkBuffer(g, mostRows, vocab, "d(logits)") : undefined
  let logits: Tensor
  return {
    take: (rows) => {
      const room = whole.take(ahead + rows)
      logits = over ? room.range(ahead * vocab, [rows, vocab], "logits") : room
      return logits
    },
    rounded: () => {
      if (apart !== undefined) {
        const out = apart.take(logits.rows)
        addInto(g, out, logits)
        return out
      }
      if (!over) return logits
      const out = new Tensor([logits.rows, vocab], dtype, "d(logits)", logits.cell, undefined)
      for (let from = 0, to = 0; from < logits.rows; from = to) {
        to = Math.min(logits.rows, scale * (from + ROWS_AHEAD))
        const part = (t: Tensor) => t.range(from * vocab, [to - from, vocab], t.name)
        addInto(g, part(out), part(logits))
      }
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
