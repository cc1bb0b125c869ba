/**
 * The fused pair for `loraLinear`: the base product and every adapter's share land in one output, and the backward is written
 * out. With x' = drop(x), h = x' Aᵀ and s the scale:
 *
 *   y = x Wᵀ + s · h Bᵀ        dB = s · dyᵀ h      dh = s · dy B      dA = dhᵀ x'      dx = dy W + drop(dh A)
 *
 * Against the composed op it saves the [tokens, out] product h Bᵀ and the copy of y that adds it, in both directions; it
 * keeps h [tokens, rank] instead of computing it again (unsloth/kernels/fast_lora.py recomputes), and a recomputation of
 * which only h is read (that of down_proj) leaves the product with W out. Its composed twin is
 * core's ops/loraLinear.ts.
 */
import {
  type AdapterSegment,
  dropoutInto,
  type Graph,
  gemm,
  loraLinear,
  override,
  plainGemm,
  type Tensor
} from "@graft/core"

interface Input {
  readonly t: Tensor
  /** The row of `t` where the segment begins. */
  readonly row: number
  readonly free: () => void
}
/** The rows of x that A sees: x itself, or a dropped-out copy to free after use. */
const adapterInput = (g: Graph, x: Tensor, { start, rows, dropout }: AdapterSegment): Input => {
  if (dropout === undefined) return { t: x, row: start, free: () => {} }
  const t = g.tensor([rows, x.columns], "dropped")
  dropoutInto(g, t, x, dropout, start, { rows, xRow: start })
  return { t, row: 0, free: () => g.release(t) }
}

export const fusedLoraLinear = override(loraLinear, {
  forward: (g, x, w, segments) => {
    const { unread } = g // a recomputation that needs h alone
    const make = () => g.tensor([x.rows, w.outFeatures], "loraLinear")
    const out = unread ? g.queue.mute(make) : make()
    if (!unread) w.apply(out, x)
    const hidden = segments.map((s) => {
      const { start, rows, a, b, scale } = s
      const h = g.tensor([rows, a.rows], "xAᵀ")
      const input = adapterInput(g, x, s)
      g.run(gemm, [h, input.t, a], { ...plainGemm, m: rows, k: x.columns, n: a.rows, tb: true, aRow: input.row })
      input.free()
      const last = { m: rows, k: a.rows, n: w.outFeatures, tb: true, scale, accumulate: true, outRow: start }
      if (!unread) g.run(gemm, [out, h, b], { ...plainGemm, ...last })
      return h
    })
    return { out, saved: { x, w, segments, hidden } }
  },
  backward: (g, dy, { x, w, segments, hidden }, into) => {
    const dx = into(x)
    if (dx !== undefined) w.applyTransposed(dx.tensor, dy, { accumulate: dx.accumulate })
    for (const [i, s] of segments.entries()) {
      const { start, rows, a, b, scale, dropout } = s
      const rank = a.rows
      const db = into(b)
      if (db !== undefined) {
        const sizes = { m: w.outFeatures, k: rows, n: rank, ta: true, scale, aRow: start, accumulate: db.accumulate }
        g.run(gemm, [db.tensor, dy, hidden[i]!], { ...plainGemm, ...sizes })
      }
      const dh = g.tensor([rows, rank], "d(xAᵀ)")
      g.run(gemm, [dh, dy, b], { ...plainGemm, m: rows, k: w.outFeatures, n: rank, scale, aRow: start })
      const da = into(a)
      if (da !== undefined) {
        const input = adapterInput(g, x, s)
        const sizes = { m: rank, k: rows, n: x.columns, ta: true, bRow: input.row, accumulate: da.accumulate }
        g.run(gemm, [da.tensor, dh, input.t], { ...plainGemm, ...sizes })
        input.free()
      }
      if (dx !== undefined && dropout === undefined) {
        const sizes = { m: rows, k: rank, n: x.columns, accumulate: true, outRow: start }
        g.run(gemm, [dx.tensor, dh, a], { ...plainGemm, ...sizes })
      } else if (dx !== undefined && dropout !== undefined) {
        const d = g.tensor([rows, x.columns], "d(dropped)")
        g.run(gemm, [d, dh, a], { ...plainGemm, m: rows, k: rank, n: x.columns })
        dropoutInto(g, dx.tensor, d, dropout, start, { rows, outRow: start, accumulate: true })
        g.release(d)
      }
      g.release(dh)
    }
  }
})
