import assert from "node:assert/strict"
import test from "node:test"
import { assertClose, assertSame } from "../../../testing/src/closeness.ts"
import { gradientsOf, onReference, planned } from "../../../testing/src/onReference.ts"
import { randomTensor, randomValues, tensorOf } from "../../../testing/src/tensorOf.ts"
import { denseCodec } from "../reference/denseCodec.ts"
import { Graph } from "../Tape.ts"
import { sourceOf } from "../TensorSource.ts"
import { embedding } from "./embedding.ts"
import { linear } from "./linear.ts"

test("a trained matrix and the same one frozen multiply alike", () =>
  onReference(async (queue, scope) => {
    const x = randomTensor(scope, "x", [4, 6], 1)
    const values = randomValues(18, 2)
    const frozen = denseCodec().encode(
      sourceOf("w", [3, 6], () => values),
      scope,
      "w"
    )
    const trained = tensorOf(scope, "w", [3, 6], values)
    const [one, two] = [frozen, trained].map((w) => gradientsOf(queue, [x], (g) => linear(g, x, w)))
    assertSame(await one!.value, await two!.value, "y")
    assertClose(await one!.gradients[0]!, await two!.gradients[0]!, 1e-6, "dx")
    const ids = tensorOf(scope, "ids", [4], [2, 0, 0, 1], "i32")
    using g = new Graph(queue)
    assertSame(await queue.read(embedding(g, frozen, ids)), await queue.read(embedding(g, trained, ids)), "rows")
  }))
test("inner sizes that differ are named", () =>
  onReference(async (queue, scope) => {
    using g = new Graph(queue)
    const [x, w] = [randomTensor(scope, "x", [4, 6], 1), randomTensor(scope, "w", [3, 5], 2)]
    assert.throws(() => linear(g, x, w), /linear: x \[4,6\] does not fit w \[3, 5\]: inner sizes/)
  }))
test("a frozen linear keeps nothing of its input, a trained one keeps it", () => {
  const kept = (trained: boolean) =>
    planned((queue, scope) => {
      const w = trained
        ? randomTensor(scope, "w", [64, 64], 1)
        : denseCodec().encode(
            sourceOf("w", [64, 64], () => []),
            scope,
            "w"
          )
      const x = randomTensor(scope, "x", [64, 64], 1)
      using g = new Graph(queue)
      g.watch(x, ...("rows" in w ? [w] : []))
      g.scoped(() => {
        let h = x
        for (let i = 0; i < 8; i++) {
          const next = linear(g, h, w)
          g.release(h)
          h = next
        }
        return h
      })
    }).byCategory.get("activations")! /
    (64 * 64 * 4)
  assert.equal(kept(false), 2)
  assert.equal(kept(true), 8)
})
