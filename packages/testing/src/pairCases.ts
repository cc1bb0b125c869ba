/** Cases of the ops that have a fused pair, beyond those of coreOpCases.ts and loraCases.ts: sums with norms, tiles, adapters of all rows. */
import {
  addRmsNorm,
  addRows,
  attention,
  denseCodec,
  type Graph,
  loraLinear,
  sourceOf,
  swiglu,
  type Tensor
} from "@graft/core"
import type { OpCase } from "./OpCase.ts"
import { randomValues, tensorOf } from "./tensorOf.ts"

const [TOKENS, WIDTH, RANK] = [7, 12, 3]
const x = { name: "x", shape: [TOKENS, WIDTH] }
const gain = { name: "gain", shape: [WIDTH], parameter: true }
const residual = (g: Graph, a: Tensor, b: Tensor, w: Tensor): Tensor => {
  const [h, n] = addRmsNorm(g, a, b, w, 1e-5)
  return addRows(g, h, swiglu(g, n, n), 0, 1)
}
const norms: ReadonlyArray<OpCase> = [
  {
    name: "addRmsNorm, both",
    inputs: [x, { ...x, name: "y" }, gain],
    prepare:
      () =>
      (g, [a, b, w]) =>
        residual(g, a!, b!, w!)
  },
  {
    name: "addRmsNorm, the norm",
    inputs: [x, { ...x, name: "y" }, gain],
    prepare:
      () =>
      (g, [a, b, w]) =>
        addRmsNorm(g, a!, b!, w!, 1e-5)[1]
  },
  {
    name: "addRmsNorm, of one tensor",
    inputs: [x, gain],
    prepare:
      () =>
      (g, [a, w]) =>
        residual(g, a!, a!, w!)
  }
]

/** Two documents of which the first is longer than a tile of keys. */
const documents = [0, 70, 0, 70, 70, 27, 70, 27]
const overTiles = (label: string, options: { readonly window?: number; readonly softCap?: number }): OpCase => ({
  name: `attention, over tiles${label}`,
  inputs: [
    { name: "q", shape: [97, 24] },
    { name: "k", shape: [97, 12] },
    { name: "v", shape: [97, 12] }
  ],
  prepare: (scope) => {
    const segments = tensorOf(scope, "segments", [2, 4], documents, "i32")
    const sizes = { heads: 4, kvHeads: 2, headDim: 6, scale: 0.8, ...options }
    return (g, [q, k, v]) => attention(g, q!, k!, v!, segments, sizes)
  }
})

const adapted = (label: string, rate?: number): OpCase => ({
  name: `loraLinear, all rows${label}`,
  inputs: [
    x,
    { name: "a", shape: [RANK, WIDTH], parameter: true },
    { name: "b", shape: [WIDTH, RANK], parameter: true }
  ],
  prepare: (scope) => {
    const source = sourceOf("w", [WIDTH, WIDTH], () => randomValues(WIDTH * WIDTH, 20))
    const w = denseCodec().encode(source, scope, "w")
    const keys = Array.from({ length: 2 * TOKENS }, (_, i) => i)
    const rowKeys = tensorOf(scope, "rowKeys", [TOKENS, 2], keys, "i32")
    const key = rate === undefined ? {} : { dropout: { rate, seed: 1, step: 1, site: 5, rowKeys } }
    return (g, [t, a, b]) => loraLinear(g, t!, w, [{ start: 0, rows: TOKENS, a: a!, b: b!, scale: 2, ...key }])
  }
})

export const pairCases: ReadonlyArray<OpCase> = [
  ...norms,
  overTiles("", {}),
  overTiles(", window", { window: 37 }),
  overTiles(", soft cap", { softCap: 1.5 }),
  overTiles(", window and soft cap", { window: 37, softCap: 1.5 }),
  adapted(""),
  adapted(", dropout", 0.3)
]
