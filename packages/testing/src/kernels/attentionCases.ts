import { attentionBackward, attentionKernel, sizeOf } from "@graft/core"
import { act, actOut, f32, f32Out, i32, type KernelCase, kernelCase, type OperandSpec } from "../KernelCase.ts"

interface Shape {
  readonly title: string
  readonly tokens: number
  readonly keys: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** (query start, query length, key start, key length) */
  readonly segments: ReadonlyArray<readonly [number, number, number, number]>
  readonly large?: boolean
  readonly window?: number
  readonly softCap?: number
}
const SHAPES: ReadonlyArray<Shape> = [
  { title: "one token", tokens: 1, keys: 1, heads: 1, kvHeads: 1, headDim: 4, segments: [[0, 1, 0, 1]] },
  {
    title: "two documents, grouped heads, a row that none names",
    tokens: 12,
    keys: 12,
    heads: 6,
    kvHeads: 2,
    headDim: 10,
    segments: [
      [0, 5, 0, 5],
      [6, 6, 6, 6]
    ]
  },
  {
    title: "decoding over caches",
    tokens: 3,
    keys: 200,
    heads: 4,
    kvHeads: 4,
    headDim: 16,
    segments: [
      [0, 1, 0, 150],
      [1, 2, 150, 47]
    ]
  },
  {
    title: "a document within keys of its own",
    tokens: 7,
    keys: 20,
    heads: 2,
    kvHeads: 1,
    headDim: 8,
    segments: [[1, 5, 9, 8]]
  },
  {
    title: "longer than a block",
    tokens: 330,
    keys: 330,
    heads: 3,
    kvHeads: 1,
    headDim: 64,
    segments: [
      [0, 263, 0, 263],
      [263, 67, 263, 67]
    ],
    large: true
  },
  {
    title: "a sliding window and a soft cap",
    tokens: 90,
    keys: 100,
    heads: 4,
    kvHeads: 2,
    headDim: 12,
    segments: [
      [0, 20, 0, 30],
      [20, 70, 30, 70]
    ],
    window: 11,
    softCap: 0.6
  }
]

/** What forward gives, as backward expects it: from the reference body. */
const forward = (shape: Shape, q: OperandSpec, k: OperandSpec, v: OperandSpec) => {
  const out = new Float32Array(sizeOf(q.shape))
  const lse = new Float32Array(shape.tokens * shape.heads)
  const views = [q, k, v].map(({ values }) => Float32Array.from(values ?? []))
  const workspace = new Float32Array(shape.tokens * shape.heads + 2 * shape.keys)
  attentionKernel.reference([out, lse, ...views, Int32Array.from(shape.segments.flat())], sizesOf(shape), workspace)
  return { out, lse }
}
const sizesOf = ({ heads, kvHeads, headDim, window = 0, softCap = 0 }: Shape) => ({
  heads,
  kvHeads,
  headDim,
  scale: headDim ** -0.5,
  window,
  softCap
})

export const attentionCases = (): ReadonlyArray<KernelCase> =>
  SHAPES.flatMap((shape) => {
    const { title, tokens, keys, heads, kvHeads, headDim, large = false } = shape
    const queries = [tokens, heads * headDim]
    const others = [keys, kvHeads * headDim]
    const [q, k, v] = [act(queries), act(others), act(others)] as const
    const segments = i32([shape.segments.length, 4], shape.segments.flat())
    const { out, lse } = forward(shape, q, k, v)
    const sizes = sizesOf(shape)
    return [
      kernelCase(attentionKernel, title, [actOut(queries), f32Out([tokens, heads]), q, k, v, segments], sizes, {
        large
      }),
      kernelCase(
        attentionBackward,
        title,
        [
          actOut(queries),
          actOut(others),
          actOut(others),
          act(queries),
          act(queries, out),
          f32([tokens, heads], lse),
          q,
          k,
          v,
          segments
        ],
        sizes,
        { large, floor: keys === 1 ? 1 : 0 } // one key has weight 1, whatever the query
      )
    ]
  })
