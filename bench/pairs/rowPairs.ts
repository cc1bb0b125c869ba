/** Pairs that memory limits: the sum with its norm, the rotation of positions. */
import { addRmsNorm, rope, ropeTableKernel } from "@graft/core"
import { fusedAddRmsNorm, fusedRope } from "@graft/fused-kernels"
import type { PairCase } from "./PairCase.ts"

const normCase = (name: string, tokens: number, hidden: number): PairCase => ({
  pair: "addRmsNorm",
  shape: `${name}, ${tokens} × ${hidden}`,
  // x, y → h, n; and dh, dn, h → d.
  bytes: (size) => 8 * tokens * hidden * size,
  prepare: (maker) => {
    const [x, y] = [maker.trained("x", [tokens, hidden]), maker.trained("y", [tokens, hidden])]
    const w = maker.tensor("w", [hidden], 1, "f32")
    return maker.graph([], [fusedAddRmsNorm], (g) => addRmsNorm(g, maker.arriving(g, x), maker.arriving(g, y), w, 1e-5))
  }
})
const ropeCase = (name: string, tokens: number, heads: number, headDim: number): PairCase => ({
  pair: "rope",
  shape: `${name}, ${tokens} × ${heads} heads of ${headDim}`,
  bytes: (size) => 4 * tokens * (heads * headDim * size + headDim * 2),
  prepare: (maker) => {
    const x = maker.trained("x", [tokens, heads * headDim])
    const keys = maker.given("rowKeys", [tokens, 2], "i32", (i) => i >> 1)
    const frequencies = maker.given("f", [headDim / 2], "f32", (i) => 10_000 ** (-2 * (i / headDim)))
    const table = maker.scope.tensor([tokens, headDim], "table")
    maker.queue.enqueue(ropeTableKernel, [table, keys, frequencies], { scale: 1 })
    return maker.graph([], [fusedRope], (g) => [rope(g, maker.arriving(g, x), table, heads)])
  }
})
export const rowPairs: ReadonlyArray<PairCase> = [
  normCase("135M", 2048, 576),
  normCase("7B", 512, 4096),
  ropeCase("135M", 2048, 9, 64),
  ropeCase("7B", 512, 32, 128)
]
