import assert from "node:assert/strict"
import test from "node:test"
import { randomTensor } from "../../testing/src/tensorOf.ts"
import type { Category } from "./Allocator.ts"
import { MetaQueue } from "./MetaQueue.ts"
import { swiglu } from "./ops/gatedUnit.ts"
import { oneArena } from "./Queue.ts"
import { fill } from "./reference/rows.ts"
import { Graph } from "./Tape.ts"
import { Scope } from "./Tensor.ts"
import { sourceOf } from "./TensorSource.ts"

test("it lists ops and asks no source", async () => {
  const queue = new MetaQueue(oneArena("meta"))
  const scope = new Scope(queue, "weights")
  const t = scope.tensor([4], "t")
  const never = () => assert.fail("a source was asked")
  queue.upload(t, never)
  queue.uploadSource(t, { ...sourceOf("t", [4], () => []), read: never })
  queue.atomic(() => queue.enqueue(fill, [t], { value: 1 }))
  assert.deepEqual(queue.ops, ["upload", "upload", "fill"])
  await assert.rejects(queue.read(t), /the meta backend has no values/)
  await queue.idle()
  assert.deepEqual(queue.progress, { submitted: 3, completed: 3 })
})
test("it checks what a device would", () => {
  const queue = new MetaQueue(oneArena("meta"))
  const scope = new Scope(queue, "weights")
  const t = scope.tensor([4], "t")
  assert.throws(() => swiglu(new Graph(queue), t, t), /read before anything was written/)
  scope.free(t)
  assert.throws(() => queue.enqueue(fill, [t], { value: 1 }), /was freed/)
})
test("the plan adds what the device takes for itself, arena by arena", () => {
  const arenaOf = (category: Category) => (category === "weights" ? 0 : 1)
  const queue = new MetaQueue({ ...oneArena("meta", 256), arenas: 2, arenaOf, fixedBytes: 1000 })
  const scope = new Scope(queue, "weights")
  scope.tensor([100], "w")
  scope.free(scope.tensor([10], "x", "f32", "activations"))
  assert.deepEqual(queue.plan.arenaBytes, [512, 256])
  assert.equal(queue.plan.peakBytes, 1000 + 512 + 256)
  assert.deepEqual(Object.fromEntries(queue.plan.atPeak), { weights: 512, activations: 256 })
})
test("the host's side of a taped op costs microseconds", () => {
  const [ops, rounds] = [500, 20]
  const queue = new MetaQueue(oneArena("meta"))
  const scope = new Scope(queue, "weights")
  const [x, dx, one] = ["x", "dx", "one"].map((name) => randomTensor(scope, name, [1, 1], 1)) as [
    ReturnType<typeof randomTensor>,
    ReturnType<typeof randomTensor>,
    ReturnType<typeof randomTensor>
  ] // map keeps the length
  const round = () => {
    using g = new Graph(queue)
    g.watch(x)
    let h = x
    for (let i = 0; i < ops; i++) h = swiglu(g, h, h)
    g.backward(h, one, () => ({ tensor: dx, accumulate: false }))
    queue.ops.length = 0
  }
  const times = Array.from({ length: rounds }, () => {
    const from = performance.now()
    round()
    return performance.now() - from
  })
  const us = (Math.min(...times) * 1000) / ops
  // About 2 on an idle core; a cost that grows with the tape would be far beyond.
  assert.ok(us < 50, `${us} µs an op`)
})
