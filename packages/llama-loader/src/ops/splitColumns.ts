/** Columns of x [tokens, Σ widths] as tensors of their own, [tokens, width] each: projections that lie in one matrix. */
import { columnsKernel, definePrimitive, fill, Routed, type Tensor } from "@graft/core"

type Several<A> = readonly [A, ...ReadonlyArray<A>]

export const splitColumns = definePrimitive("splitColumns", {
  forward: (g, x: Tensor, widths: Several<number>) => {
    const all = widths.reduce((a, b) => a + b)
    if (all !== x.columns) throw new TypeError(`splitColumns: x has ${x.columns} columns, and ${widths} are ${all}`)
    let xColumn = 0
    const part = (width: number): Tensor => {
      const out = g.tensor([x.rows, width], "splitColumns")
      const sizes = { width, outWidth: width, outColumn: 0, xWidth: all, xColumn, accumulate: false }
      g.run(columnsKernel, [out, x], sizes)
      xColumn += width
      return out
    }
    const [first, ...rest] = widths
    const out: Several<Tensor> = [part(first), ...rest.map(part)]
    return { out, saved: { x: new Routed(x), widths } }
  },
  backward: (g, dys, { x, widths }, into) => {
    const dx = into(x.tensor)
    if (dx === undefined) return
    let { accumulate } = dx
    if (!accumulate && widths.some((_, i) => dys[i] === undefined)) {
      g.run(fill, [dx.tensor], { value: 0 })
      accumulate = true
    }
    let outColumn = 0
    for (const [i, width] of widths.entries()) {
      const dy = dys[i]
      const sizes = { width, outWidth: dx.tensor.columns, outColumn, xWidth: width, xColumn: 0, accumulate }
      if (dy !== undefined) g.run(columnsKernel, [dx.tensor, dy], sizes)
      outColumn += width
    }
  }
})
