/** Turning gradients in place gives the bits of turning them into other memory, and takes less of it. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  addRows,
  Graph,
  linear,
  type Override,
  ReferenceQueue,
  rope,
  ropeTable,
  Scope,
  type Tensor,
  uniforms
} from "@graft/core"
import { fusedRope } from "./fusedRope.ts"

const [TOKENS, HEADS, HEAD_DIM] = [9, 3, 4]
const WIDTH = HEADS * HEAD_DIM

const run = async (overrides: ReadonlyMap<string, Override>, readTwice: boolean) => {
  const queue = new ReferenceQueue([1 << 20])
  const scope = new Scope(queue, "weights")
  const make = (name: string, shape: ReadonlyArray<number>, seed: number) => {
    const t = scope.tensor(shape, name)
    queue.upload(t, () => uniforms(t.size, seed, 1).map((u) => 2 * u - 1))
    return t
  }
  const [x, w, dy] = [
    make("x", [TOKENS, WIDTH], 1),
    make("w", [WIDTH, WIDTH], 2),
    make("dy", [TOKENS, WIDTH], 3)
  ] as const
  const frequencies = make("frequencies", [HEAD_DIM / 2], 4)
  const rowKeys = scope.tensor([TOKENS, 2], "row keys", "i32")
  queue.upload(rowKeys, () => Int32Array.from({ length: 2 * TOKENS }, (_, i) => (i % 2 === 0 ? 0 : i >> 1)))
  const watched = [x, w]
  const gradients = new Map(watched.map((t) => [t, scope.tensor(t.shape, `d ${t.name}`)]))
  {
    using g = new Graph(queue, { overrides })
    g.watch(...watched)
    const table = ropeTable(g, rowKeys, frequencies, 1)
    const h = linear(g, x, w)
    const turned = rope(g, h, table, HEADS)
    // Read once, h's gradient is the turned one; read twice, it must be added to another.
    const y = readTwice ? addRows(g, turned, h, 0, 0.5) : turned
    const out: Tensor = addRows(g, x, y, 0, 2) // whose gradient is no tensor of the caller's
    const written = new Set<Tensor>()
    g.backward(out, dy, (t) => {
      const tensor = gradients.get(t)
      if (tensor === undefined) return undefined
      const accumulate = written.has(t)
      written.add(t)
      return { tensor, accumulate }
    })
  }
  const values = await Promise.all([...gradients.values()].map((t) => queue.read(t)))
  const peak = queue.allocator.peakByCategory.get("gradients") ?? 0
  await queue.close()
  return { values, peak }
}

for (const readTwice of [false, true]) {
  test(`in place as apart, where x is read ${readTwice ? "twice" : "once"}`, async () => {
    const composed = await run(new Map(), readTwice)
    const fused = await run(new Map([[fusedRope.op, fusedRope]]), readTwice)
    assert.deepEqual(fused.values, composed.values)
    assert.ok(readTwice ? fused.peak <= composed.peak : fused.peak < composed.peak, `${fused.peak} ${composed.peak}`)
  })
}
