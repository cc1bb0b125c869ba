import assert from "node:assert/strict"
import test from "node:test"
import { denseCodec } from "./denseCodec.ts"
import { linear } from "./ops/linear.ts"
import { swiglu } from "./ops/swiglu.ts"
import { ReferenceQueue } from "./reference/ReferenceQueue.ts"
import { Graph } from "./Tape.ts"
import { Scope } from "./Tensor.ts"
import { sourceOf } from "./TensorSource.ts"

test("a gradient through a frozen linear and swiglu returns memory to its mark", async () => {
  const queue = new ReferenceQueue([1 << 20])
  const scope = new Scope(queue, "weights")
  const w = denseCodec().encode(
    sourceOf("w", [3, 2], () => [1, 2, 3, 4, 5, 6]),
    scope,
    "w"
  )
  const x = scope.tensor([1, 2], "x")
  queue.upload(x, () => [1, -1])
  const dx = scope.tensor([1, 2], "dx")
  const dy = scope.tensor([1, 3], "dy")
  queue.upload(dy, () => [1, 1, 1])
  const mark = queue.allocator.liveBytes
  {
    using g = new Graph(queue)
    g.watch(x)
    const h = linear(g, x, w)
    const y = swiglu(g, h, h)
    g.backward(y, dy, () => ({ tensor: dx, accumulate: false }))
  }
  assert.equal(queue.allocator.liveBytes, mark)
  const value = await queue.read(dx)
  const f = (a: number, b: number) =>
    [a + 2 * b, 3 * a + 4 * b, 5 * a + 6 * b].reduce((s, h) => s + (h * h) / (1 + Math.exp(-h)), 0)
  for (const [i, slope] of [(f(1.001, -1) - f(0.999, -1)) / 0.002, (f(1, -0.999) - f(1, -1.001)) / 0.002].entries()) {
    assert.ok(Math.abs(value[i]! - slope) < 1e-4, `${value} ${slope}`)
  }
  await queue.close()
})
