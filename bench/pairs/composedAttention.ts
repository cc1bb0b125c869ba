/**
 * Attention as its formula says, head by head and document by document, with all weights [length, length] in memory from the
 * forward pass to the backward, as a framework without a fused kernel computes it:
 *
 *   S = scale · q kᵀ (c · tanh(S / c) under a cap c)        P = softmax(S + mask)        out = P v
 *   dP = dout vᵀ    dv = Pᵀ dout    dS = P (dP − rowsum(dP · P)) (· 1 − (S / c)²)    dq = scale · dS k    dk = scale · dSᵀ q
 *
 * Scores are f32, what is multiplied has the dtype of activations. It is made of kernels that other ops have: a softmax is the
 * gradient of cross-entropy plus its one-hot row, a product by elements is a scaling of columns by a row of that length.
 */
import {
  add,
  addInto,
  attention,
  columnsKernel,
  crossEntropyRows,
  type Graph,
  gatherGradient,
  gemm,
  type Override,
  override,
  plainGemm,
  scaleColumnsKernel,
  scaleRows,
  softCapKernel,
  type Tensor,
  writeTogether
} from "@graft/core"
import type { Maker } from "./PairCase.ts"

const HIDDEN_SCORE = -1e30

/** For documents of `length` rows each, one behind the other. */
export const composedAttention = (maker: Maker, length: number, window = 0, softCap = 0): Override => {
  const square = [length, length]
  const seen = (i: number, j: number) => j <= i && (window === 0 || i - j < window)
  const mask = maker.given("mask", square, "f32", (at) =>
    seen(Math.floor(at / length), at % length) ? 0 : HIDDEN_SCORE
  )
  const column = maker.given("ones", [length, 1], "f32", () => 1)
  const diagonal = maker.given("diagonal", [length], "i32", (i) => i)
  const diagonalPlaces = maker.given("diagonal places", [length], "i32", (i) => i * length + i)
  const ones = maker.given("ones", [length * length], "f32", () => 1)
  const capSquared = softCap > 0 ? maker.given("c²", [length * length], "f32", () => softCap ** 2) : ones

  const flat = (t: Tensor) => t.range(0, [1, t.size], t.name)
  /** out = a · b / by, element by element; b f32. */
  const multiply = (g: Graph, out: Tensor, a: Tensor, b: Tensor, by: Tensor) =>
    g.run(scaleColumnsKernel, [flat(out), flat(a), b.range(0, [b.size], b.name), by], { accumulate: false })
  const headOf = (g: Graph, x: Tensor, head: number, width: number): Tensor => {
    const out = g.tensor([x.rows, width], "head")
    const sizes = { width, outWidth: width, outColumn: 0, xWidth: x.columns, xColumn: head * width }
    g.run(columnsKernel, [out, x], { ...sizes, accumulate: false })
    return out
  }
  const putHead = (g: Graph, out: Tensor, x: Tensor, head: number, accumulate = false) => {
    const sizes = {
      width: x.columns,
      outWidth: out.columns,
      outColumn: head * x.columns,
      xWidth: x.columns,
      xColumn: 0
    }
    g.run(columnsKernel, [out, x], { ...sizes, accumulate })
    g.release(x)
  }
  /** In the dtype of activations; t itself where it has it. */
  const rounded = (g: Graph, t: Tensor): Tensor => {
    if (g.activations === "f32") return t
    const out = g.tensor(t.shape, t.name)
    addInto(g, out, t)
    g.release(t)
    return out
  }
  const product = (g: Graph, out: Tensor, a: Tensor, b: Tensor, p: Partial<typeof plainGemm> & Sizes) =>
    g.run(gemm, [out, a, b], { ...plainGemm, ...p })

  return override(
    attention,
    {
      forward: (g, q, k, v, _segments, { heads, kvHeads, headDim, scale }) => {
        const out = g.tensor(q.shape, "attention")
        const losses = g.tensor([length], "unread", "f32")
        const kept: Array<{ readonly weights: Tensor; readonly capped: Tensor | undefined }> = []
        for (let head = 0; head < heads; head++) {
          const group = Math.floor((head * kvHeads) / heads)
          const [qh, kh, vh] = [headOf(g, q, head, headDim), headOf(g, k, group, headDim), headOf(g, v, group, headDim)]
          const own = g.tensor([q.rows, headDim], "attended")
          for (let row = 0; row < q.rows; row += length) {
            const s = g.tensor(square, "scores", "f32")
            product(g, s, qh, kh, { m: length, k: headDim, n: length, tb: true, aRow: row, bRow: row, scale })
            const capped = softCap > 0 ? g.tensor(square, "capped", "f32") : undefined
            if (capped !== undefined) {
              g.run(softCapKernel, [s], { softCap })
              addInto(g, capped, s)
            }
            g.run(add, [s, s, mask], { scale: 1 })
            const sizes = { row0: 0, rows: length, vocab: length, softCap: 0, smoothing: 0 }
            g.run(crossEntropyRows, [losses, s, diagonal], { ...sizes, gradient: true })
            const places = s.range(0, [s.size, 1], "diagonal")
            g.run(gatherGradient, [places, column, diagonalPlaces], { accumulate: true })
            const weights = rounded(g, s)
            product(g, own, weights, vh, { m: length, k: length, n: headDim, bRow: row, outRow: row })
            kept.push({ weights, capped })
          }
          putHead(g, out, own, head)
          for (const t of [qh, kh, vh]) g.release(t)
        }
        g.release(losses)
        return { out, saved: { q, k, v, kept, heads, kvHeads, headDim, scale } }
      },
      backward: (g, dy, { q, k, v, kept, heads, kvHeads, headDim, scale }, into) =>
        writeTogether(g, into, [q, k, v], ([dq, dk, dv]) => {
          for (let head = 0, at = 0; head < heads; head++) {
            const group = Math.floor((head * kvHeads) / heads)
            const again = head > 0 && Math.floor(((head - 1) * kvHeads) / heads) === group
            const parts = [headOf(g, dy, head, headDim), headOf(g, q, head, headDim)] as const
            const keys = [headOf(g, k, group, headDim), headOf(g, v, group, headDim)] as const
            const [dyh, qh, kh, vh] = [...parts, ...keys]
            const own = () => g.tensor([q.rows, headDim], "d(head)")
            const [dqh, dkh, dvh] = [own(), own(), own()]
            for (let row = 0; row < q.rows; row += length) {
              const { weights, capped } = kept[at++]!
              const [wide, narrow] = [
                { m: length, k: headDim, n: length, tb: true },
                { m: length, k: length, n: headDim }
              ]
              const [dp, ds] = [g.tensor(square, "d(weights)", "f32"), g.tensor(square, "d(scores)", "f32")]
              product(g, dp, dyh, vh, { ...wide, aRow: row, bRow: row })
              product(g, dvh, weights, dyh, { ...narrow, ta: true, bRow: row, outRow: row })
              multiply(g, ds, weights, dp, ones)
              const sums = g.tensor([length, 1], "sums", "f32")
              product(g, sums, ds, column, { m: length, k: length, n: 1, scale: -1 })
              g.run(scaleRows, [ds, weights, sums], { accumulate: true })
              if (capped !== undefined) {
                multiply(g, dp, capped, capped, capSquared)
                const bent = g.tensor(square, "bent", "f32")
                multiply(g, bent, dp, ds, ones)
                g.run(add, [ds, ds, bent], { scale: -1 })
                g.release(bent)
              }
              g.release(dp)
              const dScores = rounded(g, ds)
              product(g, dqh, dScores, kh, { ...narrow, scale, bRow: row, outRow: row })
              product(g, dkh, dScores, qh, { ...narrow, scale, ta: true, bRow: row, outRow: row })
              for (const t of [dScores, sums]) g.release(t)
            }
            putHead(g, dq!, dqh, head)
            putHead(g, dk!, dkh, group, again)
            putHead(g, dv!, dvh, group, again)
            for (const t of [dyh, qh, kh, vh]) g.release(t)
          }
        })
    },
    "composed"
  )
}
interface Sizes {
  readonly m: number
  readonly k: number
  readonly n: number
}
