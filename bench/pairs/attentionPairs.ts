/** Attention by tiles beside attention with all its weights in memory. */
import { attention } from "@graft/core"
import { composedAttention } from "./composedAttention.ts"
import type { PairCase } from "./PairCase.ts"

interface Shape {
  readonly name: string
  readonly documents: number
  readonly length: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly window?: number
  readonly softCap?: number
}
const attentionCase = ({ name, documents, length, heads, kvHeads, headDim, ...bends }: Shape): PairCase => {
  const { window = 0, softCap = 0 } = bends
  const tokens = documents * length
  const w = window > 0 ? window : length
  const pairs = documents * (w * length - (w * (w - 1)) / 2)
  const label = [...(window > 0 ? [`window ${window}`] : []), ...(softCap > 0 ? [`soft cap ${softCap}`] : [])]
  return {
    pair: ["attention", ...label].join(", "),
    shape: `${name}, ${documents} × ${length}, ${heads} heads of ${headDim}, ${kvHeads} of keys`,
    flops: 14 * pairs * heads * headDim,
    prepare: (maker) => {
      const [q, k, v] = [
        maker.trained("q", [tokens, heads * headDim]),
        maker.trained("k", [tokens, kvHeads * headDim]),
        maker.trained("v", [tokens, kvHeads * headDim])
      ]
      const segmentOf = (i: number) => (i % 2 === 0 ? (i >> 2) * length : length)
      const segments = maker.given("segments", [documents, 4], "i32", segmentOf)
      const options = { heads, kvHeads, headDim, scale: 1 / Math.sqrt(headDim), window, softCap }
      return maker.graph([composedAttention(maker, length, window, softCap)], [], (g) => [
        attention(g, maker.arriving(g, q), maker.arriving(g, k), maker.arriving(g, v), segments, options)
      ])
    }
  }
}
const small = { name: "135M", documents: 4, length: 512, heads: 9, kvHeads: 3, headDim: 64 }
export const attentionPairs: ReadonlyArray<PairCase> = [
  attentionCase(small),
  attentionCase({ ...small, window: 128 }),
  attentionCase({ ...small, softCap: 50 }),
  attentionCase({ name: "7B", documents: 1, length: 512, heads: 32, kvHeads: 32, headDim: 128 })
]
