/** DoRA on the reference: the norm of W + sBA without W, and the op's gradients by finite differences. */
import assert from "node:assert/strict"
import test from "node:test"
import { denseCodec, Graph, oneArena, ReferenceQueue, type Scope, sourceOf } from "@graft/core"
import {
  assertClose,
  type OpCase,
  onReference,
  randomTensor,
  randomValues,
  tensorOf,
  testGolden,
  testGradient
} from "@graft/testing"
import { doraLinear, doraNorm } from "./dora.ts"

const [TOKENS, OUT, IN, RANK] = [6, 5, 8, 2]
const frozen = (scope: Scope) =>
  denseCodec().encode(
    sourceOf("w", [OUT, IN], () => randomValues(OUT * IN, 20)),
    scope,
    "w"
  )

test("DoRA's norm needs the methods of a weight only, and is that of W + sBA", () =>
  onReference(async (queue, scope) => {
    const w = frozen(scope)
    const [a, b] = [randomTensor(scope, "a", [RANK, IN], 6), randomTensor(scope, "b", [OUT, RANK], 7)]
    const squares = scope.tensor([OUT], "‖W‖²")
    w.rowNormsSquared(squares)
    using g = new Graph(queue)
    const norm = await queue.read(doraNorm(g, w, a, b, 2, squares))
    const [wv, av, bv] = [randomValues(OUT * IN, 20), await queue.read(a), await queue.read(b)]
    const wanted = Array.from({ length: OUT }, (_, o) =>
      Math.hypot(
        ...Array.from({ length: IN }, (_, i) => {
          const ba = Array.from({ length: RANK }, (_, r) => bv[o * RANK + r]! * av[r * IN + i]!)
          return wv[o * IN + i]! + 2 * ba.reduce((s, v) => s + v)
        })
      )
    )
    assertClose(norm, wanted, 1e-5, "norm")
    assert.ok(norm.every((v) => v > 0))
  }))

const doraCase: OpCase = {
  name: "doraLinear",
  inputs: [
    { name: "x", shape: [TOKENS, IN] },
    { name: "a", shape: [RANK, IN], parameter: true },
    { name: "b", shape: [OUT, RANK], parameter: true },
    { name: "m", shape: [OUT], parameter: true }
  ],
  prepare: (scope) => {
    const w = frozen(scope)
    const norm = tensorOf(
      scope,
      "norm",
      [OUT],
      randomValues(OUT, 11).map((v) => 2 + v)
    )
    return (g, [x, a, b, m]) => doraLinear(g, x!, w, { start: 0, rows: TOKENS, a: a!, b: b!, scale: 2 }, m!, norm)
  }
}
testGradient("lora", doraCase)

/** With the norm of its own W + sBA, as a run has it: a constant to the tape, so no case for finite differences. */
const ofItself: OpCase = {
  ...doraCase,
  prepare: (scope) => {
    const w = frozen(scope)
    const squares = scope.tensor([OUT], "‖W‖²")
    w.rowNormsSquared(squares)
    return (g, [x, a, b, m]) => {
      const norm = doraNorm(g, w, a!, b!, 2, squares)
      return doraLinear(g, x!, w, { start: 0, rows: TOKENS, a: a!, b: b!, scale: 2 }, m!, norm)
    }
  }
}
const open = (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes)
testGolden("lora", { limits: oneArena("reference"), open }, ofItself)
