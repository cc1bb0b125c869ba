/**
 * The pair for `rope` that turns gradients in place: a rotation is orthogonal, so the gradient of x is dy turned the other
 * way, and dy is nobody's afterwards (unsloth/kernels/rope_embedding.py does the same).
 *
 *   y_i = x_i c_i − x_{i+half} s_i     y_{i+half} = x_{i+half} c_i + x_i s_i     dx: s → −s
 *
 * x, y [tokens, heads · headDim], table [tokens, headDim]. Against the composed op it saves a gradient of that size and half
 * of the traffic. Where x has a gradient already, dy is turned into it as the composed op does. Its twin is core's ops/rope.ts.
 */
import { override, Routed, rope, ropeKernel } from "@graft/core"

export const fusedRope = override(
  rope,
  {
    forward: (g, x, table, heads) => {
      const out = g.tensor(x.shape, "rope")
      const headDim = table.columns
      g.run(ropeKernel, [out, x, table], { heads, headDim, inverse: false, accumulate: false })
      return { out, saved: { x: new Routed(x), table, heads, headDim } }
    },
    backward: (g, dy, { x, table, heads, headDim }, into) => {
      const sizes = { heads, headDim, inverse: true }
      if (into.pass(x.tensor, dy)) return g.run(ropeKernel, [dy, dy, table], { ...sizes, accumulate: false })
      const dx = into(x.tensor)
      if (dx !== undefined) g.run(ropeKernel, [dx.tensor, dy, table], { ...sizes, accumulate: dx.accumulate })
    }
  },
  "in place"
)
