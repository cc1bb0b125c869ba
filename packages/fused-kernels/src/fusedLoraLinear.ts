/**
 * The fused pair for `loraLinear`: the base product and every adapter's share land in one output, and the backward is written
 * out. With x' = drop(x), h = x' Aᵀ and s the scale:
 *
 *   y = x Wᵀ + s · h Bᵀ        dB = s · dyᵀ h      dh = s · dy B      dA = dhᵀ x'      dx = dy W + drop(dh A)
 *
 * Against the composed op it saves the [tokens, out] product h Bᵀ and the copy of y that adds it, in both directions: where
 * an adapter sees all rows, h Bᵀ and, without dropout, dh A are tails of the products with W (core's Weight.ts). It
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

/** Whether an adapter sees every row of x: then its share is a tail of the product with W. */
const seesAll = ({ start, rows }: AdapterSegment, x: Tensor): boolean => start === 0 && rows === x.rows

export const fusedLoraLinear = override(loraLinear, {
  forward: (g, x, w, segments) => {
    const { unread } = g // a recomputation that needs h alone
    const make = () => g.tensor([x.rows, w.outFeatures], "loraLinear")
    const out = unread ? g.queue.mute(make) : make()
    const hidden = segments.map((s) => {
      const { rows, a } = s
      const h = g.tensor([rows, a.rows], "xAᵀ")
      const input = adapterInput(g, x, s)
      g.run(gemm, [h, input.t, a], { ...plainGemm, m: rows, k: x.columns, n: a.rows, tb: true, aRow: input.row })
      input.free()
      return h
    })
    const whole = segments.findIndex((s) => seesAll(s, x))
    const { b, scale } = segments[whole] ?? {}
    if (!unread) w.apply(out, x, { tail: b && { h: hidden[whole]!, factor: b, scale } })
    for (const [i, { start, rows, b, scale }] of segments.entries()) {
      if (unread || i === whole) continue
      const last = { m: rows, k: b.columns, n: w.outFeatures, tb: true, scale, accumulate: true, outRow: start }
      g.run(gemm, [out, hidden[i]!, b], { ...plainGemm, ...last })
    }
    return { out, saved: { x, w, segments, hidden } }
  },
  backward: (g, dy, { x, w, segments, hidden }, into) => {
    const dhs = segments.map((s, i) => {
      const { start, rows, a, b, scale } = s
      const rank = a.rows
      const dh = g.tensor([rows, rank], "d(xAᵀ)")
      g.run(gemm, [dh, dy, b], { ...plainGemm, m: rows, k: w.outFeatures, n: rank, scale, aRow: start })
      const db = into(b)
      if (db !== undefined) {
        const sizes = { m: w.outFeatures, k: rows, n: rank, ta: true, scale, aRow: start, accumulate: db.accumulate }
        g.run(gemm, [db.tensor, dy, hidden[i]!], { ...plainGemm, ...sizes })
      }
      const da = into(a)
      if (da !== undefined) {
        const input = adapterInput(g, x, s)
        const sizes = { m: rank, k: rows, n: x.columns, ta: true, bRow: input.row, accumulate: da.accumulate }
        g.run(gemm, [da.tensor, dh, input.t], { ...plainGemm, ...sizes })
        input.free()
      }
      return dh
    })
    const dx = into(x)
    if (dx !== undefined) {
      const whole = segments.findIndex((s) => s.dropout === undefined && seesAll(s, x))
      const tail = segments[whole] && { h: dhs[whole]!, factor: segments[whole].a }
      w.applyTransposed(dx.tensor, dy, { accumulate: dx.accumulate, tail })
      for (const [i, s] of segments.entries()) if (i !== whole) addShare(g, dx.tensor, dhs[i]!, s)
    }
    for (const dh of dhs) g.release(dh)
  }
})

/** dx += drop(dh A), of some rows or dropped out as the input was. */
const addShare = (g: Graph, dx: Tensor, dh: Tensor, { start, rows, a, dropout }: AdapterSegment): void => {
  const sizes = { m: rows, k: a.rows, n: a.columns }
  if (dropout === undefined) {
    g.run(gemm, [dx, dh, a], { ...plainGemm, ...sizes, accumulate: true, outRow: start })
    return
  }
  const d = g.tensor([rows, a.columns], "d(dropped)")
  g.run(gemm, [d, dh, a], { ...plainGemm, ...sizes })
  dropoutInto(g, dx, d, dropout, start, { rows, outRow: start, accumulate: true })
  g.release(d)
}
