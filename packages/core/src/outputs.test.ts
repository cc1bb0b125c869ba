/** Ops with several outputs: gradients to each of them, to some, to none; scopes, checkpoints, replaced ops. */
import assert from "node:assert/strict"
import test from "node:test"
import { assertClose, assertSame } from "../../testing/src/closeness.ts"
import { gradientsOf, onReference } from "../../testing/src/onReference.ts"
import { randomTensor } from "../../testing/src/tensorOf.ts"
import { checkpoint, deadCalls } from "./checkpoint.ts"
import { defineOp, definePrimitive, override, Routed } from "./Op.ts"
import { swiglu } from "./ops/gatedUnit.ts"
import { addInto, addRows } from "./ops/rows.ts"
import type { Call, Graph } from "./Tape.ts"
import type { Tensor } from "./Tensor.ts"

/** [2x, x²], with a count of the gradients that arrived. */
const arrived: Array<ReadonlyArray<boolean>> = []
const both = definePrimitive("both", {
  forward: (g, x: Tensor) => {
    const [twice, square] = [g.tensor(x.shape, "twice"), g.tensor(x.shape, "square")]
    addInto(g, twice, x, { scale: 2 })
    g.run(times, [square, x, x], null)
    return { out: [twice, square] as const, saved: { x } }
  },
  backward: (g, [dTwice, dSquare], { x }, into) => {
    arrived.push([dTwice !== undefined, dSquare !== undefined])
    if (dTwice !== undefined) {
      const d = into(x)
      if (d !== undefined) addInto(g, d.tensor, dTwice, { scale: 2, accumulate: d.accumulate })
    }
    if (dSquare === undefined) return
    const product = g.tensor(x.shape, "product")
    g.run(times, [product, dSquare, x], null)
    const d = into(x)
    if (d !== undefined) addInto(g, d.tensor, product, { scale: 2, accumulate: d.accumulate })
    g.release(product)
  }
})
const times = {
  name: "times",
  outputs: 1,
  fields: [],
  dtypes: ["act", "act", "act"],
  reference: ([y, a, b]: ReadonlyArray<{ readonly length: number; [i: number]: number }>) => {
    for (let i = 0; i < y!.length; i++) y![i] = a![i]! * b![i]!
  }
} as const
/** The same by ops of one output. */
const double = definePrimitive("double", {
  forward: (g, x: Tensor) => {
    const out = g.tensor(x.shape, "double")
    addInto(g, out, x, { scale: 2 })
    return { out, saved: { x: new Routed(x) } }
  },
  backward: (g, dy, { x }, into) => {
    const d = into(x.tensor)
    if (d !== undefined) addInto(g, d.tensor, dy, { scale: 2, accumulate: d.accumulate })
  }
})

const uses: Readonly<Record<string, (g: Graph, x: Tensor) => Tensor>> = {
  both: (g, x) => addRows(g, ...both(g, x), 0, 1),
  first: (g, x) => both(g, x)[0],
  second: (g, x) => both(g, x)[1],
  neither: (g, x) => {
    both(g, x)
    return double(g, x)
  },
  "one twice": (g, x) => {
    const [, square] = both(g, x)
    return addRows(g, square, square, 0, 1)
  }
}
const slopes: Readonly<Record<string, (x: number) => number>> = {
  both: (x) => 2 + 2 * x,
  first: () => 2,
  second: (x) => 2 * x,
  neither: () => 2,
  "one twice": (x) => 4 * x
}
const expected: Readonly<Record<string, ReadonlyArray<ReadonlyArray<boolean>>>> = {
  both: [[true, true]],
  first: [[true, false]],
  second: [[false, true]],
  neither: [],
  "one twice": [[false, true]]
}
for (const [name, use] of Object.entries(uses)) {
  test(`gradients reach ${name} of two outputs, in scopes and checkpoints too`, () =>
    onReference(async (queue, scope) => {
      const x = randomTensor(scope, "x", [3, 4], 1)
      arrived.length = 0
      const plain = gradientsOf(queue, [x], (g) => use(g, x))
      assert.deepEqual(arrived, expected[name])
      const ones = gradientsOf(queue, [x], (g) => double(g, x)) // its gradient is 2 dy
      const [gradient, twice, values] = await Promise.all([plain.gradients[0]!, ones.gradients[0]!, queue.read(x)])
      assertClose(
        gradient,
        values.map((v, i) => (slopes[name]!(v) * twice[i]!) / 2),
        1e-5,
        name
      )
      for (const f of [
        (g: Graph) => g.scoped(() => use(g, x)),
        (g: Graph) => checkpoint(g, x, use),
        (g: Graph) => checkpoint(g, x, (inner, t) => inner.scoped(() => use(inner, t)))
      ]) {
        const other = gradientsOf(queue, [x], f)
        assertSame(await other.value, await plain.value, `${name}: value`)
        assertSame(await other.gradients[0]!, gradient, `${name}: gradient`)
      }
    }))
}

test("an op of several outputs is composed and replaced like any other", () =>
  onReference(async (queue, scope) => {
    const x = randomTensor(scope, "x", [3, 4], 1)
    const pair = defineOp("pair", (g: Graph, t: Tensor) => [double(g, t), swiglu(g, t, t)] as const)
    const replaced = override(pair, {
      forward: (g, t) => {
        const [one, two] = [g.tensor(t.shape, "one"), g.tensor(t.shape, "two")]
        addInto(g, one, t, { scale: 3 })
        addInto(g, two, t, { scale: 5 })
        return { out: [one, two] as const, saved: { t: new Routed(t) } }
      },
      backward: (g, dys, { t }, into) => {
        for (const [i, dy] of dys.entries()) {
          const d = dy === undefined ? undefined : into(t.tensor)
          if (d !== undefined) addInto(g, d.tensor, dy!, { scale: [3, 5][i]!, accumulate: d.accumulate })
        }
      }
    })
    const f = (g: Graph) => addRows(g, ...pair(g, x), 0, 1)
    const apart = gradientsOf(queue, [x], (g) => addRows(g, double(g, x), swiglu(g, x, x), 0, 1))
    const composed = gradientsOf(queue, [x], f)
    assertSame(await composed.value, await apart.value, "composed")
    assertSame(await composed.gradients[0]!, await apart.gradients[0]!, "composed, gradient")
    const eight = gradientsOf(queue, [x], f, { overrides: new Map([["pair", replaced]]) })
    assertClose(
      await eight.value,
      (await queue.read(x)).map((v) => 8 * v),
      1e-6,
      "replaced"
    )
  }))

test("a call runs again if any of its outputs is read", () =>
  onReference(async (_, scope) => {
    const [x, p, q, r] = ["x", "p", "q", "r"].map((name) => randomTensor(scope, name, [1], 1)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor
    ] // map keeps the length
    const call = (inputs: ReadonlyArray<Tensor>, outs: ReadonlyArray<Tensor>, saved: ReadonlyArray<Tensor>): Call => ({
      name: "call",
      inputs,
      outs,
      saved,
      tracked: true
    })
    assert.deepEqual([...deadCalls([call([x], [p, q], []), call([q], [r], [q])])], [[1, "whole"]])
    assert.deepEqual(
      [...deadCalls([call([x], [p, q], []), call([q], [r], [])])].sort(),
      [
        [0, "whole"],
        [1, "whole"]
      ],
      "nobody reads either"
    )
    assert.deepEqual([...deadCalls([call([x], [p, q], [p])])], [], "one is saved")
  }))
