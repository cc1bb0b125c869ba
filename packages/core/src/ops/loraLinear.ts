import { defineOp } from "../Op.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import type { Weight } from "../Weight.ts"
import { type DropoutKey, dropout } from "./dropout.ts"
import { linear } from "./linear.ts"
import { addRows } from "./rows.ts"

/** a [rank, in], b [out, rank]; adapts rows [start, start + rows). */
export interface AdapterSegment {
  readonly start: number
  readonly rows: number
  readonly a: Tensor
  readonly b: Tensor
  readonly scale: number
  readonly dropout?: DropoutKey
}
/** A frozen weight with the adapters of its rows: what an op over several linears takes for each of them. */
export interface AdaptedWeight {
  readonly weight: Weight
  readonly segments: ReadonlyArray<AdapterSegment>
}

/**
 * y = x Wᵀ + Σ_segments scale · drop(x) Aᵀ Bᵀ (arXiv:2106.09685 §4.1). A segment gives a range of rows to an adapter: mixed
 * batches, the adapter-off reference (no segment) and several adapters trained in one pass are the same call.
 */
export const loraLinear = defineOp(
  "loraLinear",
  (g: Graph, x: Tensor, w: Weight, segments: ReadonlyArray<AdapterSegment>): Tensor => {
    let y = linear(g, x, w)
    for (const { start, rows, a, b, scale, dropout: key } of segments) {
      const range = { start, rows }
      const down = key === undefined ? linear(g, x, a, range) : linear(g, dropout(g, x, key, range), a)
      y = addRows(g, y, linear(g, down, b), start, scale)
    }
    return y
  }
)
