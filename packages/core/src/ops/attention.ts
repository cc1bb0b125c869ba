import { definePrimitive } from "../Op.ts"
import { type AttentionSizes, attentionBackward, attentionKernel } from "../reference/attention.ts"
import type { Tensor } from "../Tensor.ts"
import { writeTogether } from "./writeTogether.ts"

export interface AttentionOptions extends AttentionSizes {
  /** The tape does not hold the output but computes it again, once, before the first backward that reads it. */
  readonly remade?: boolean
  /** Where the output and its sums lie, made outside of a checkpoint, and whether they are computed already: not again then. */
  readonly kept?: { readonly out: Tensor; readonly lse: Tensor; readonly filled: boolean } | undefined
}
/**
 * Causal attention over segments: one contract for packed training, padding-free batches and decoding with a KV cache.
 * segments i32 [n, 4] = (query start, query length, key start, key length). Rows that no segment names are 0.
 *
 *   out = softmax(scale · q kᵀ) v        q, out [tokens, heads · headDim], k, v [keys, kvHeads · headDim]
 *
 * Kept: q, k, v, out and the logarithm of each row's sum [tokens, heads], so that weights are made again tile by tile where
 * they would be [heads, tokens, keys]: memory is linear in the length (arXiv:2307.08691 §3.1). Formulas of the gradients, of
 * the window and of the soft cap: reference/attention.ts.
 */
export const attention = definePrimitive("attention", {
  forward: (g, q: Tensor, k: Tensor, v: Tensor, segments: Tensor, options: AttentionOptions) => {
    const { remade = false, kept, ...given } = options
    const sizes = { window: 0, softCap: 0, ...given }
    const out = kept?.out ?? g.tensor(q.shape, "attention")
    const lse = kept?.lse ?? g.tensor([q.rows, sizes.heads], "logsumexp", "f32")
    const run = (y: Tensor) => g.run(attentionKernel, [y, lse, q, k, v, segments], sizes)
    if (kept?.filled !== true) run(out)
    const saved = { out, lse, q, k, v, segments, sizes }
    return { out, saved, ...(remade ? { again: { from: [q, k, v, segments, lse], run } } : {}) }
  },
  backward: (g, dy, { out, lse, q, k, v, segments, sizes }, into) =>
    writeTogether(g, into, [q, k, v], (outputs) =>
      g.run(attentionBackward, [...outputs, dy, out, lse, q, k, v, segments], sizes)
    )
})
