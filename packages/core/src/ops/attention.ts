import { definePrimitive } from "../Op.ts"
import { type AttentionSizes, attentionBackward, attentionKernel } from "../reference/attention.ts"
import type { Tensor } from "../Tensor.ts"
import { writeTogether } from "./writeTogether.ts"

/**
 * Causal attention over segments: one contract for packed training, padding-free batches and decoding with a KV cache.
 * segments i32 [n, 4] = (query start, query length, key start, key length). Rows that no segment names are 0.
 */
export const attention = definePrimitive("attention", {
  forward: (g, q: Tensor, k: Tensor, v: Tensor, segments: Tensor, options: AttentionSizes) => {
    const sizes = { window: 0, softCap: 0, ...options }
    const out = g.tensor(q.shape, "attention")
    const lse = g.tensor([q.rows, sizes.heads], "logsumexp", "f32")
    g.run(attentionKernel, [out, lse, q, k, v, segments], sizes)
    return { out, saved: { out, lse, q, k, v, segments, sizes } }
  },
  backward: (g, dy, { out, lse, q, k, v, segments, sizes }, into) =>
    writeTogether(g, into, [q, k, v], (outputs) =>
      g.run(attentionBackward, [...outputs, dy, out, lse, q, k, v, segments], sizes)
    )
})
