/** Head with loss, and the embedding's gradient beside a product with one-hot rows. */
import {
  denseKernels,
  embedding,
  fill,
  gatherGradient,
  gemm,
  type LossOptions,
  linearCrossEntropy,
  override,
  plainGemm,
  Tensor
} from "@graft/core"
import { fusedLinearCrossEntropy } from "@graft/fused-kernels"
import type { PairCase } from "./PairCase.ts"

const [VOCAB, HIDDEN] = [49_152, 576]

interface Way {
  readonly label?: string
  readonly options?: LossOptions
  readonly trained?: boolean
}
const lossCase = (
  tokens: number,
  learnt: number,
  { label = "", options = {}, trained = false }: Way = {}
): PairCase => ({
  pair: `linearCrossEntropy${label}`,
  shape: `135M, ${learnt === tokens ? `all ${tokens}` : `${learnt} of ${tokens}`} rows learnt, ${HIDDEN} → ${VOCAB}`,
  flops: (trained ? 6 : 4) * learnt * HIDDEN * VOCAB,
  prepare: (maker) => {
    const x = maker.trained("x", [tokens, HIDDEN])
    const head = trained ? maker.trained("W", [VOCAB, HIDDEN], 1 / 24, "f32") : maker.frozen(VOCAB, HIDDEN)
    const targets = maker.given("targets", [tokens], "i32", (i) => (i < tokens - learnt ? -1 : (i * 7919) % VOCAB))
    return maker.graph([], [fusedLinearCrossEntropy], (g) => [
      linearCrossEntropy(g, maker.arriving(g, x), head, targets, { ...options, supervised: learnt })
    ])
  }
})

/** dW = onehotᵀ dy, with onehot [tokens, vocabulary] and nothing else known of it. */
const oneHotEmbedding = (one: Tensor, places: Tensor) =>
  override(
    embedding,
    {
      forward: (g, w, ids) => {
        if (!(w instanceof Tensor)) throw new TypeError("the bench trains its embedding")
        const out = g.tensor([ids.size, w.columns], "embedding")
        g.run(denseKernels.gatherRows, [out, ids, w], { out: w.rows, in: w.columns })
        return { out, saved: { w } }
      },
      backward: (g, dy, { w }, into) => {
        const [tokens, vocab] = [dy.rows, w.rows]
        const oneHot = g.tensor([tokens, vocab], "one-hot", "f32")
        g.run(fill, [oneHot], { value: 0 })
        g.run(gatherGradient, [oneHot.range(0, [tokens * vocab, 1], "places"), one, places], { accumulate: true })
        const dw = into(w)
        if (dw !== undefined) {
          const sizes = { m: vocab, k: tokens, n: dy.columns, ta: true, accumulate: dw.accumulate }
          g.run(gemm, [dw.tensor, oneHot, dy], { ...plainGemm, ...sizes })
        }
        g.release(oneHot)
      }
    },
    "composed"
  )
const embeddingCase = (tokens: number): PairCase => ({
  pair: "embedding",
  shape: `135M, ${tokens} of ${VOCAB} rows × ${HIDDEN}`,
  // Rows of W → out; dy → dW, whole.
  bytes: (size) => 3 * tokens * HIDDEN * size + 4 * VOCAB * HIDDEN,
  prepare: (maker) => {
    const idOf = (t: number) => (t * 7919) % (VOCAB >> 4) // some are met twice
    const w = maker.trained("W", [VOCAB, HIDDEN], 1, "f32")
    const ids = maker.given("ids", [tokens], "i32", idOf)
    const places = maker.given("places", [tokens], "i32", (t) => t * VOCAB + idOf(t))
    const one = maker.given("ones", [tokens, 1], "f32", () => 1)
    return maker.graph([oneHotEmbedding(one, places)], [], (g) => [embedding(g, w, ids)])
  }
})
export const headPairs: ReadonlyArray<PairCase> = [
  lossCase(1024, 1024),
  lossCase(1024, 300),
  lossCase(1024, 1024, { label: ", soft cap 30, smoothing 0.1", options: { softCap: 30, smoothing: 0.1 } }),
  lossCase(1024, 1024, { label: ", trained head", trained: true }),
  embeddingCase(512)
]
