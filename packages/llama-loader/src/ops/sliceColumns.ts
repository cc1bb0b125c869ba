/** y [tokens, width] = columns [start, start + width) of x: one of several projections that lie in one matrix. */
import { columnsKernel, definePrimitive, fill, Routed, type Tensor } from "@graft/core"

export const sliceColumns = definePrimitive("sliceColumns", {
  forward: (g, x: Tensor, start: number, width: number) => {
    const out = g.tensor([x.rows, width], "sliceColumns")
    g.run(columnsKernel, [out, x], {
      width,
      outWidth: width,
      outColumn: 0,
      xWidth: x.columns,
      xColumn: start,
      accumulate: false
    })
    return { out, saved: { x: new Routed(x), start, width } }
  },
  backward: (g, dy, { x, start, width }, into) => {
    const dx = into(x.tensor)
    if (dx === undefined) return
    if (!dx.accumulate) g.run(fill, [dx.tensor], { value: 0 })
    g.run(columnsKernel, [dx.tensor, dy], {
      width,
      outWidth: dx.tensor.columns,
      outColumn: start,
      xWidth: width,
      xColumn: 0,
      accumulate: true
    })
  }
})
