import assert from "node:assert/strict"
import test from "node:test"
import { assertSame } from "../../testing/src/closeness.ts"
import { gradientsOf, onReference } from "../../testing/src/onReference.ts"
import { randomTensor, randomValues, tensorOf } from "../../testing/src/tensorOf.ts"
import { checkpoint, deadCalls } from "./checkpoint.ts"
import { MetaQueue } from "./MetaQueue.ts"
import { swiglu } from "./ops/gatedUnit.ts"
import { linear } from "./ops/linear.ts"
import { loraLinear } from "./ops/loraLinear.ts"
import { rmsNorm } from "./ops/rmsNorm.ts"
import { addRows } from "./ops/rows.ts"
import { oneArena, type Queue } from "./Queue.ts"
import { denseCodec } from "./reference/denseCodec.ts"
import { Graph } from "./Tape.ts"
import { Scope, type Tensor } from "./Tensor.ts"
import { sourceOf } from "./TensorSource.ts"
import type { Weight } from "./Weight.ts"

const TOKENS = 6
const WIDTH = 8
const RANK = 2
interface World {
  readonly w: Weight
  readonly x: Tensor
  readonly a: Tensor
  readonly b: Tensor
  readonly gain: Tensor
  readonly rowKeys: Tensor
}
const world = (scope: Scope): World => ({
  w: denseCodec().encode(
    sourceOf("w", [WIDTH, WIDTH], () => randomValues(WIDTH * WIDTH, 20)),
    scope,
    "w"
  ),
  x: randomTensor(scope, "x", [TOKENS, WIDTH], 1),
  a: randomTensor(scope, "a", [RANK, WIDTH], 6),
  b: randomTensor(scope, "b", [WIDTH, RANK], 7),
  gain: randomTensor(scope, "gain", [WIDTH], 5),
  rowKeys: tensorOf(
    scope,
    "rowKeys",
    [TOKENS, 2],
    Array.from({ length: 2 * TOKENS }, (_, i) => i),
    "i32"
  )
})
/** The last two ops only route gradients: nobody reads what they compute. */
const block =
  ({ w, a, b, gain, rowKeys }: World, rate = 0) =>
  (g: Graph, x: Tensor): Tensor => {
    const dropout = rate > 0 ? { dropout: { rate, seed: 1, step: 2, site: 3, rowKeys } } : {}
    const h = loraLinear(g, rmsNorm(g, x, gain, 1e-5), w, [{ start: 0, rows: TOKENS, a, b, scale: 1, ...dropout }])
    return addRows(g, x, linear(g, swiglu(g, h, h), w), 0, 1)
  }
const equalBits = async (
  queue: Queue,
  inputs: ReadonlyArray<Tensor>,
  one: (g: Graph) => Tensor,
  two: (g: Graph) => Tensor,
  activations: "f32" | "bf16" = "f32"
): Promise<void> => {
  const [plain, again] = [one, two].map((f) => gradientsOf(queue, inputs, f, { activations }))
  assertSame(await again!.value, await plain!.value, "value")
  for (const [i, t] of inputs.entries())
    assertSame(await again!.gradients[i]!, await plain!.gradients[i]!, `gradient of ${t.name}`)
}

for (const activations of ["f32", "bf16"] as const) {
  test(`a checkpoint gives the same bits, captured parameters found, in ${activations}`, () =>
    onReference(async (queue, scope) => {
      const all = world(scope)
      const { x, a, b, gain } = all
      for (const rate of [0, 0.3]) {
        const f = block(all, rate)
        await equalBits(
          queue,
          [a, b, gain],
          (g) => f(g, x),
          (g) => checkpoint(g, x, f),
          activations
        )
        const nested = (g: Graph) => checkpoint(g, x, (inner, t) => f(inner, checkpoint(inner, t, f)))
        await equalBits(queue, [a, b, gain], (g) => f(g, f(g, x)), nested, activations)
        const within = (g: Graph) => checkpoint(g, x, (inner, t) => checkpoint(inner, f(inner, t), f))
        await equalBits(queue, [a, b, gain], (g) => f(g, f(g, x)), within, activations)
      }
      await equalBits(
        queue,
        [x],
        (g) => block(all)(g, x),
        (g) => checkpoint(g, x, block(all))
      )
    }))
}

const recompute = (watched: (w: World) => ReadonlyArray<Tensor>) => {
  const meta = new MetaQueue(oneArena("meta"))
  const scope = new Scope(meta, "weights")
  const all = world(scope)
  const dy = randomTensor(scope, "dy", [TOKENS, WIDTH], 1)
  using g = new Graph(meta)
  g.watch(...watched(all))
  const before = meta.ops.length
  const out = checkpoint(g, all.x, block(all))
  const forward = meta.ops.slice(before)
  const from = meta.ops.length
  const live = meta.allocator.live.get("activations")
  g.backward(out, dy, (leaf) => ({ tensor: scope.tensor(leaf.shape, `d ${leaf.name}`), accumulate: false }))
  return { forward, backward: meta.ops.slice(from), live, outBytes: out.bytes }
}
test("nothing is recomputed that nobody reads", () => {
  const { forward, backward } = recompute(({ a, b }) => [a, b])
  assert.ok(forward.includes("swiglu") && forward.filter((op) => op === "dense.apply").length === 2)
  assert.ok(!backward.includes("swiglu"), backward.join(" "))
  // The first linear is needed for what follows it; the last one and the residual are not.
  assert.equal(backward.filter((op) => op === "dense.apply").length, 1, backward.join(" "))
  assert.equal(backward.filter((op) => op === "add").length, 1, "that of the adapter, not the residual")
})
test("a checkpoint keeps its input, and nothing of what it computed", () => {
  const { live, outBytes } = recompute(({ a, b }) => [a, b])
  assert.ok(
    live !== undefined && live <= 64 * Math.ceil(outBytes / 64),
    `${live} bytes of activations, its output has ${outBytes}`
  )
})
test("a checkpoint that nothing trained goes through runs once", () => {
  const { backward } = recompute(() => [])
  assert.deepEqual(backward, [])
})
test("a call is dead when nobody who must run reads it", () =>
  onReference(async (_, scope) => {
    const t = (name: string) => randomTensor(scope, name, [1], 1)
    const [x, p, q, r, kept] = [t("x"), t("p"), t("q"), t("r"), t("kept")]
    const call = (
      name: string,
      inputs: ReadonlyArray<Tensor>,
      out: Tensor,
      saved: ReadonlyArray<Tensor>,
      tracked = true
    ) => ({
      name,
      inputs,
      outs: [out],
      saved,
      tracked
    })
    assert.deepEqual(
      [...deadCalls([call("p", [x], p, [x]), call("q", [p], q, [p]), call("r", [q], r, [])])].sort(),
      [
        [1, "whole"],
        [2, "whole"]
      ],
      "q and r only route"
    )
    assert.deepEqual(
      [...deadCalls([call("p", [x], p, []), call("q", [p], q, [kept])])],
      [[1, "output"]],
      "q makes what it saves, from p, and nobody reads q itself"
    )
    assert.deepEqual(
      [...deadCalls([call("p", [x], p, [], false), call("q", [p], q, [p])])].sort(),
      [[1, "whole"]],
      "p is read although untracked"
    )
  }))
