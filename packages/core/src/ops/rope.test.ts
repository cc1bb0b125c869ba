import assert from "node:assert/strict"
import test from "node:test"
import { assertClose, assertSame } from "../../../testing/src/closeness.ts"
import { onReference } from "../../../testing/src/onReference.ts"
import { randomTensor, randomValues, tensorOf } from "../../../testing/src/tensorOf.ts"
import type { Queue } from "../Queue.ts"
import { ropeKernel } from "../reference/rope.ts"
import { Graph } from "../Tape.ts"
import type { Scope } from "../Tensor.ts"
import { rope, ropeTable } from "./rope.ts"

const [heads, headDim, half] = [3, 8, 4]
const frequencies = [1, 0.3, 0.05, 0.001]
const turn = (queue: Queue, scope: Scope, positions: ReadonlyArray<number>, values: ArrayLike<number>) => {
  using g = new Graph(queue)
  const keys = tensorOf(
    scope,
    "keys",
    [positions.length, 2],
    positions.flatMap((p) => [77, p]),
    "i32"
  )
  const table = ropeTable(g, keys, tensorOf(scope, "frequencies", [half], frequencies), 1)
  return queue.read(rope(g, tensorOf(scope, "x", [positions.length, heads * headDim], values), table, heads))
}

test("pairs (i, i + half) turn by position · frequency", () =>
  onReference(async (queue, scope) => {
    const positions = [0, 1, 5, 1000]
    const x = randomValues(positions.length * heads * headDim, 1)
    const wanted = Float32Array.from(x, (_, at) => {
      const [t, i] = [Math.floor(at / (heads * headDim)), at % headDim]
      const angle = Math.fround(positions[t]! * Math.fround(frequencies[i % half]!))
      return i < half
        ? x[at]! * Math.cos(angle) - x[at + half]! * Math.sin(angle)
        : x[at]! * Math.cos(angle) + x[at - half]! * Math.sin(angle)
    })
    assertClose(await turn(queue, scope, positions, x), wanted, 1e-6, "turned")
    assertSame(
      (await turn(queue, scope, positions, x)).slice(0, heads * headDim),
      x.slice(0, heads * headDim),
      "position 0"
    )
  }))
test("a product of two turned vectors depends on their distance only", () =>
  onReference(async (queue, scope) => {
    const [q, k] = [randomValues(heads * headDim, 1), randomValues(heads * headDim, 2)]
    const dot = async (a: number, b: number) => {
      const [x, y] = [await turn(queue, scope, [a], q), await turn(queue, scope, [b], k)]
      return x.reduce((s, v, i) => s + v * y[i]!, 0)
    }
    const [near, far, other] = [await dot(5, 3), await dot(105, 103), await dot(5, 4)]
    assert.ok(Math.abs(near - far) < 1e-4 && Math.abs(near - other) > 1e-3, `${near} ${far} ${other}`)
  }))
test("inverse turns back, and in place too", () =>
  onReference(async (queue, scope) => {
    const x = randomTensor(scope, "x", [3, heads * headDim], 1)
    using g = new Graph(queue)
    const keys = tensorOf(scope, "keys", [3, 2], [0, 1, 0, 7, 0, 30], "i32")
    const table = ropeTable(g, keys, tensorOf(scope, "frequencies", [half], frequencies), 1)
    for (const inverse of [false, true])
      g.run(ropeKernel, [x, x, table], { heads, headDim, inverse, accumulate: false })
    assertClose(await queue.read(x), randomValues(3 * heads * headDim, 1), 1e-6, "back")
  }))
