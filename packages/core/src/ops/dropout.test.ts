import assert from "node:assert/strict"
import test from "node:test"
import { assertSame } from "../../../testing/src/closeness.ts"
import { gradientsOf, onReference } from "../../../testing/src/onReference.ts"
import { randomTensor, tensorOf } from "../../../testing/src/tensorOf.ts"
import { Graph } from "../Tape.ts"
import type { Scope } from "../Tensor.ts"
import { type DropoutKey, dropout } from "./dropout.ts"

const WIDTH = 10
const keyOf = (scope: Scope, samples: ReadonlyArray<number>, more: Partial<DropoutKey> = {}): DropoutKey => ({
  rate: 0.5,
  seed: 1,
  step: 3,
  site: 9,
  rowKeys: tensorOf(
    scope,
    "keys",
    [3 * samples.length, 2],
    samples.flatMap((s) => [s, 0, s, 1, s, 2]),
    "i32"
  ),
  ...more
})

test("a mask depends on the sample and the place, not on packing, split or order", () =>
  onReference(async (queue, scope) => {
    using g = new Graph(queue)
    const ones = (rows: number) => tensorOf(scope, "ones", [rows, WIDTH], Array<number>(rows * WIDTH).fill(1))
    const mask = (samples: ReadonlyArray<number>, more: Partial<DropoutKey> = {}) =>
      queue.read(dropout(g, ones(3 * samples.length), keyOf(scope, samples, more)))
    const [both, second, swapped] = [await mask([4, 5]), await mask([5]), await mask([5, 4])]
    const half = 3 * WIDTH
    assertSame(both.slice(half), second, "the second sample of two")
    assertSame(swapped.slice(0, half), second, "the first of two")
    assert.notDeepEqual(both.slice(0, half), second)
    const part = await queue.read(dropout(g, ones(5), keyOf(scope, [4, 5]), { start: 3, rows: 2 }))
    assertSame(part, second.slice(0, 2 * WIDTH), "rows from the middle of a batch")
    for (const other of [{ seed: 2 }, { step: 4 }, { site: 8 }])
      assert.notDeepEqual(await mask([5], other), second, JSON.stringify(other))
    assertSame(await mask([5], { rate: 0 }), Array<number>(half).fill(1), "rate 0")
  }))
test("what is kept is scaled, at the rate that was asked for", () =>
  onReference(async (queue, scope) => {
    using g = new Graph(queue)
    const rows = 500
    const keys = tensorOf(
      scope,
      "keys",
      [rows, 2],
      Array.from({ length: 2 * rows }, (_, i) => i),
      "i32"
    )
    const x = tensorOf(scope, "x", [rows, WIDTH], Array<number>(rows * WIDTH).fill(3))
    for (const rate of [0.1, 0.75]) {
      const out = await queue.read(dropout(g, x, { rate, seed: 7, step: 1, site: 1, rowKeys: keys }))
      const kept = out.filter((v) => v !== 0)
      assert.ok(kept.every((v) => Math.abs(v - 3 / (1 - rate)) < 1e-5))
      assert.ok(Math.abs(kept.length / out.length - (1 - rate)) < 0.02, `${kept.length} of ${out.length}`)
    }
  }))
test("backward has the mask of forward", () =>
  onReference(async (queue, scope) => {
    const x = randomTensor(scope, "x", [6, WIDTH], 1)
    const { value, gradients } = gradientsOf(queue, [x], (g) => dropout(g, x, keyOf(scope, [1, 2])))
    const [y, dx] = [await value, await gradients[0]!]
    assert.deepEqual(
      [...y].map((v) => v === 0),
      [...dx].map((v) => v === 0)
    )
    assert.ok(y.some((v) => v === 0) && y.some((v) => v !== 0))
  }))
