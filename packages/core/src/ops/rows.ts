/** Ops on rows of tokens: residual add, rows added back, scaled columns, sum. */
import { type Destination, definePrimitive, Routed } from "../Op.ts"
import {
  type AddScaled,
  add,
  addScaled,
  broadcast,
  scaleColumnsBackwardM,
  scaleColumnsKernel,
  sumKernel
} from "../reference/rows.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"

/** out (+)= scale · x over a window of rows; also the cast between dtypes. */
export const addInto = (g: Graph, out: Tensor, x: Tensor, p: Partial<AddScaled> = {}): void =>
  g.run(addScaled, [out, x], { width: x.columns, rows: x.rows, outRow: 0, xRow: 0, scale: 1, accumulate: false, ...p })
/** As `addInto` where a gradient goes, if anybody wants it. */
export const addTo = (g: Graph, to: Destination | undefined, x: Tensor, p: Partial<AddScaled> = {}): void => {
  if (to !== undefined) addInto(g, to.tensor, x, { ...p, accumulate: to.accumulate })
}

/** y = a, and rows [start, …) of it plus scale · b [rows, width]. The residual add is start 0, scale 1. */
export const addRows = definePrimitive("addRows", {
  forward: (g, a: Tensor, b: Tensor, start: number, scale: number) => {
    const out = g.tensor(a.shape, "addRows")
    if (start === 0 && a.rows === b.rows) g.run(add, [out, a, b], { scale })
    else {
      addInto(g, out, a)
      addInto(g, out, b, { outRow: start, scale, accumulate: true })
    }
    return { out, saved: { a: new Routed(a), b: new Routed(b), start, scale } }
  },
  backward: (g, dy, { a, b, start, scale }, into) => {
    if (start !== 0 || scale !== 1 || !into.share(b.tensor, dy))
      addTo(g, into(b.tensor), dy, { rows: b.tensor.rows, xRow: start, scale })
    if (!into.share(a.tensor, dy)) addTo(g, into(a.tensor), dy)
  }
})

/** y [tokens, out] = x · m / norm by column; m [out] trained, norm [out] a constant (DoRA, arXiv:2402.09353 §4.3). */
export const scaleColumns = definePrimitive("scaleColumns", {
  forward: (g, x: Tensor, m: Tensor, norm: Tensor) => {
    const out = g.tensor(x.shape, "scaleColumns")
    g.run(scaleColumnsKernel, [out, x, m, norm], { accumulate: false })
    return { out, saved: { x, m, norm } }
  },
  backward: (g, dy, { x, m, norm }, into) => {
    const dx = into(x)
    if (dx !== undefined) g.run(scaleColumnsKernel, [dx.tensor, dy, m, norm], { accumulate: dx.accumulate })
    const dm = into(m)
    if (dm !== undefined) g.run(scaleColumnsBackwardM, [dm.tensor, dy, x, norm], { accumulate: dm.accumulate })
  }
})

/** y f32 [1] = scale · Σ x. A loss is a sum over tokens: the optimiser divides, once the count of all micro-batches is known. */
export const sum = definePrimitive("sum", {
  forward: (g, x: Tensor, scale: number) => {
    const out = g.tensor([1], "sum", "f32")
    g.run(sumKernel, [out, x], { scale, accumulate: false })
    return { out, saved: { x: new Routed(x), scale } }
  },
  backward: (g, dy, { x, scale }, into) => {
    const d = into(x.tensor)
    if (d !== undefined) g.run(broadcast, [d.tensor, dy], { scale, accumulate: d.accumulate })
  }
})
