import { definePrimitive, Routed } from "../Op.ts"
import { ropeKernel, ropeTableKernel } from "../reference/rope.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"

/** Cosines and sines of a batch, [tokens, headDim], made once and read by all layers; a constant to the tape. */
export const ropeTable = (g: Graph, rowKeys: Tensor, inverseFrequencies: Tensor, scale: number): Tensor => {
  const table = g.tensor([rowKeys.rows, 2 * inverseFrequencies.size], "ropeTable", "f32")
  g.run(ropeTableKernel, [table, rowKeys, inverseFrequencies], { scale })
  return table
}

/** Rotary position embedding of x [tokens, heads·headDim] (arXiv:2104.09864); its backward turns the other way. */
export const rope = definePrimitive("rope", {
  forward: (g, x: Tensor, table: Tensor, heads: number) => {
    const out = g.tensor(x.shape, "rope")
    const headDim = table.columns
    g.run(ropeKernel, [out, x, table], { heads, headDim, inverse: false, accumulate: false })
    return { out, saved: { x: new Routed(x), table, heads, headDim } }
  },
  backward: (g, dy, { x, table, heads, headDim }, into) => {
    const dx = into(x.tensor)
    if (dx !== undefined)
      g.run(ropeKernel, [dx.tensor, dy, table], { heads, headDim, inverse: true, accumulate: dx.accumulate })
  }
})
