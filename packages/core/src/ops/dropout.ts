import { definePrimitive, Routed } from "../Op.ts"
import { dropoutKernel } from "../reference/dropout.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import { gradientOfRange, type RowRange } from "./linear.ts"

/** What the draw depends on besides the column; `rowKeys` i32 [tokens, 2] holds (sample, token position) of each row. */
export interface DropoutKey {
  readonly rate: number
  readonly seed: number
  readonly step: number
  readonly site: number
  readonly rowKeys: Tensor
}
interface Rows {
  readonly rows?: number
  readonly outRow?: number
  readonly xRow?: number
  readonly accumulate?: boolean
}
/** out (+)= x · mask / (1 − rate): forward and backward alike. Row `keyRow` of the batch is the first. */
export const dropoutInto = (g: Graph, out: Tensor, x: Tensor, key: DropoutKey, keyRow: number, p: Rows = {}): void => {
  const { rowKeys, ...draw } = key
  const { rows = x.rows, outRow = 0, xRow = 0, accumulate = false } = p
  g.run(dropoutKernel, [out, x, rowKeys], { ...draw, width: x.columns, rows, outRow, xRow, keyRow, accumulate })
}

export const dropout = definePrimitive("dropout", {
  forward: (g, x: Tensor, key: DropoutKey, range: RowRange = { start: 0, rows: x.rows }) => {
    const out = g.tensor([range.rows, x.columns], "dropout")
    dropoutInto(g, out, x, key, range.start, { rows: range.rows, xRow: range.start })
    return { out, saved: { x: new Routed(x), key, range } }
  },
  backward: (g, dy, { x, key, range }, into) => {
    const dx = gradientOfRange(g, into, x.tensor, range)
    if (dx !== undefined)
      dropoutInto(g, dx.tensor, dy, key, range.start, { outRow: range.start, accumulate: dx.accumulate })
  }
})
