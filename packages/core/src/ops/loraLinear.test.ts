import test from "node:test"
import { assertSame } from "../../../testing/src/closeness.ts"
import { gradientsOf, onReference } from "../../../testing/src/onReference.ts"
import { randomTensor, randomValues } from "../../../testing/src/tensorOf.ts"
import { denseCodec } from "../reference/denseCodec.ts"
import { Graph } from "../Tape.ts"
import type { Scope } from "../Tensor.ts"
import { sourceOf } from "../TensorSource.ts"
import { linear } from "./linear.ts"
import { loraLinear } from "./loraLinear.ts"

const [tokens, out, inner, rank] = [6, 5, 8, 2]
const frozen = (scope: Scope) =>
  denseCodec().encode(
    sourceOf("w", [out, inner], () => randomValues(out * inner, 20)),
    scope,
    "w"
  )
const adapter = (scope: Scope, seed: number) => ({
  a: randomTensor(scope, `a${seed}`, [rank, inner], seed),
  b: randomTensor(scope, `b${seed}`, [out, rank], seed + 1)
})

test("several adapters in one pass give each row the bits of its own alone, gradients too", () =>
  onReference(async (queue, scope) => {
    const w = frozen(scope)
    const x = randomTensor(scope, "x", [tokens, inner], 1)
    const [one, two] = [adapter(scope, 6), adapter(scope, 8)]
    const together = gradientsOf(queue, [one.a, one.b, two.a, two.b], (g) =>
      loraLinear(g, x, w, [
        { start: 0, rows: 2, ...one, scale: 2 },
        { start: 3, rows: 3, ...two, scale: 0.5 }
      ])
    )
    using g = new Graph(queue)
    const base = await queue.read(linear(g, x, w))
    const all = await together.value
    assertSame(all.slice(2 * out, 3 * out), base.slice(2 * out, 3 * out), "a row without adapter")
    for (const [i, { start, rows, of, scale }] of [
      { start: 0, rows: 2, of: one, scale: 2 },
      { start: 3, rows: 3, of: two, scale: 0.5 }
    ].entries()) {
      const alone = gradientsOf(queue, [of.a, of.b], (inner2) =>
        loraLinear(inner2, x, w, [{ start, rows, ...of, scale }])
      )
      assertSame(
        all.slice(start * out, (start + rows) * out),
        (await alone.value).slice(start * out, (start + rows) * out),
        `rows of adapter ${i}`
      )
      for (const j of [0, 1])
        assertSame(await together.gradients[2 * i + j]!, await alone.gradients[j]!, `gradient ${j} of adapter ${i}`)
    }
    assertSame(await queue.read(loraLinear(g, x, w, [])), base, "no adapter")
  }))
