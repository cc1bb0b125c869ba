/** Two numbers against a knapsack over the single ops of a layer, whose bytes and operations follow from its shapes. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { costOf } from "../rates/expectedTime.ts"
import { recomputation } from "./recomputation.ts"

interface Shape {
  readonly hidden: number
  readonly queries: number
  readonly keys: number
  readonly intermediate: number
  readonly layers: number
  readonly vocabulary: number
}
interface Piece {
  /** bf16 numbers a token that need not be held. */
  readonly saves: number
  /** Operations a token, as expectedTime.ts counts them, to make them again. */
  readonly costs: number
}

const operations = (tokens: number, weights: number, attention = 0): number =>
  costOf({ weights: weights * tokens, attention: attention * tokens, adapter: 0, perToken: weights }, 1) / tokens

/** What a layer holds beside its input: what `checkpoint` saves. RMSNorm's and SwiGLU's outputs are never held. */
const piecesOf = ({ hidden, queries, keys, intermediate }: Shape, tokens: number): ReadonlyArray<Piece> => {
  const product = (inner: number, out: number) => ({ saves: out, costs: operations(tokens, 2 * inner * out) })
  return [
    { saves: queries, costs: operations(tokens, 0, 2 * tokens * queries) },
    product(hidden, queries + 2 * keys),
    product(queries, hidden),
    product(hidden, 2 * intermediate)
  ]
}
const total = (pieces: ReadonlyArray<Piece>): Piece =>
  pieces.reduce((a, b) => ({ saves: a.saves + b.saves, costs: a.costs + b.costs }))

/** Operations to save so much, the pieces of all layers being taken by what they cost a byte: no choice costs less. */
const knapsack = (pieces: ReadonlyArray<Piece>, layers: number, wanted: number): number => {
  let [left, costs] = [wanted, 0]
  for (const piece of pieces.toSorted((a, b) => a.costs / a.saves - b.costs / b.saves)) {
    const taken = Math.min(left, piece.saves * layers)
    costs += (taken * piece.costs) / piece.saves
    left -= taken
  }
  return costs
}

const stepOf = ({ hidden, queries, keys, intermediate, layers, vocabulary }: Shape, tokens: number): number => {
  const linears = 2 * (hidden * (2 * queries + 2 * keys) + 3 * hidden * intermediate)
  return operations(tokens, 2 * layers * linears + 4 * hidden * vocabulary, 3.5 * layers * 2 * tokens * queries)
}

const shapes = {
  "Llama-2-7b": { hidden: 4096, queries: 4096, keys: 4096, intermediate: 11_008, layers: 32, vocabulary: 32_000 },
  "Llama-2-70b": { hidden: 8192, queries: 8192, keys: 1024, intermediate: 28_672, layers: 80, vocabulary: 32_000 },
  "SmolLM2-135M": { hidden: 576, queries: 576, keys: 192, intermediate: 1536, layers: 30, vocabulary: 49_152 }
}
for (const [name, shape] of Object.entries(shapes))
  test(`${name}: two numbers are within 0.3 % of the best choice of single ops, whole layers alone are not`, () => {
    let worstOfWhole = 0
    for (const tokens of [512, 1024, 2048, 4096, 8192, 32_768]) {
      const pieces = piecesOf(shape, tokens)
      const [attention] = pieces
      const [all, rest] = [total(pieces), total(pieces.slice(1))]
      const first = attention!.costs / attention!.saves < rest.costs / rest.saves
      const order = recomputation(shape.layers, first)
      const step = stepOf(shape, tokens)
      for (let place = 0; place <= order.last; place++) {
        const { checkpointing: n, attentionAgain: m } = order.at(place)
        const saves = n * rest.saves + m * attention!.saves
        const best = step + knapsack(pieces, shape.layers, saves)
        const two = step + n * rest.costs + m * attention!.costs
        assert.ok(two < 1.003 * best, `${tokens} tokens, ${n} and ${m}: ${two / best}`)
        worstOfWhole = Math.max(worstOfWhole, (step + (saves / all.saves) * all.costs) / best)
      }
    }
    assert.ok(worstOfWhole > 1.05, String(worstOfWhole))
  })
