/** Fused and composed loraLinear: equal values and gradients, with and without dropout, over one and several segments. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  type AdapterSegment,
  addRows,
  checkpoint,
  denseCodec,
  Graph,
  loraLinear,
  type Override,
  ReferenceQueue,
  Scope,
  sourceOf,
  uniforms
} from "@graft/core"
import { fusedLoraLinear } from "./fusedLoraLinear.ts"

const TOKENS = 7
const IN = 6
const OUT = 5

const run = async (overrides: ReadonlyMap<string, Override>, dropout: boolean, split: boolean) => {
  const queue = new ReferenceQueue([1 << 20])
  const scope = new Scope(queue, "weights")
  const make = (name: string, shape: ReadonlyArray<number>, seed: number) => {
    const t = scope.tensor(shape, name)
    queue.upload(t, () => uniforms(t.size, seed, 1).map((u) => 2 * u - 1))
    return t
  }
  const w = denseCodec().encode(
    sourceOf("w", [OUT, IN], () => uniforms(OUT * IN, 9, 1)),
    scope,
    "w"
  )
  const [x, dy] = [make("x", [TOKENS, IN], 1), make("dy", [TOKENS, OUT], 2)]
  const [a, b, a2, b2] = [
    make("a", [2, IN], 3),
    make("b", [OUT, 2], 4),
    make("a2", [3, IN], 5),
    make("b2", [OUT, 3], 6)
  ]
  const rowKeys = scope.tensor([TOKENS, 2], "rowKeys", "i32")
  queue.upload(rowKeys, () => Array.from({ length: 2 * TOKENS }, (_, i) => i))
  const key = dropout ? { dropout: { rate: 0.4, seed: 1, step: 2, site: 3, rowKeys } } : {}
  const segments: ReadonlyArray<AdapterSegment> = split
    ? [
        { start: 0, rows: 3, a, b, scale: 2, ...key },
        { start: 4, rows: 3, a: a2, b: b2, scale: 0.5, ...key }
      ]
    : [{ start: 0, rows: TOKENS, a, b, scale: 2, ...key }]
  const watched = split ? [x, a, b, a2, b2] : [x, a, b]
  const gradients = new Map(watched.map((t) => [t, scope.tensor(t.shape, `d ${t.name}`)]))
  const mark = queue.allocator.liveBytes
  const reads: Array<Promise<Float32Array>> = []
  {
    using g = new Graph(queue, { overrides })
    g.watch(...watched)
    const y = loraLinear(g, x, w, segments)
    reads.push(queue.read(y))
    const written = new Set()
    g.backward(y, dy, (t) => {
      const tensor = gradients.get(t)
      if (tensor === undefined) return undefined
      const accumulate = written.has(t)
      written.add(t)
      return { tensor, accumulate }
    })
  }
  assert.equal(queue.allocator.liveBytes, mark, "memory returns to its mark")
  for (const d of gradients.values()) reads.push(queue.read(d))
  const values = await Promise.all(reads)
  await queue.close()
  return values
}

for (const dropout of [false, true]) {
  for (const split of [false, true]) {
    test(`fused equals composed: ${dropout ? "dropout" : "no dropout"}, ${split ? "two segments" : "one"}`, async () => {
      const composed = await run(new Map(), dropout, split)
      const fused = await run(new Map([[fusedLoraLinear.op, fusedLoraLinear]]), dropout, split)
      assert.equal(fused.length, composed.length)
      for (const [i, wanted] of composed.entries()) {
        for (const [j, v] of wanted.entries())
          assert.ok(Math.abs(v - fused[i]![j]!) < 1e-5, `value ${i}, element ${j}: ${v} ${fused[i]![j]}`)
      }
    })
  }
}

test("a recomputation whose output nobody reads makes x·A alone, with the same gradients", async () => {
  const run = async (overrides: ReadonlyMap<string, Override>) => {
    const queue = new ReferenceQueue([1 << 20])
    const scope = new Scope(queue, "weights")
    const make = (name: string, shape: ReadonlyArray<number>, seed: number) => {
      const t = scope.tensor(shape, name)
      queue.upload(t, () => uniforms(t.size, seed, 1).map((u) => 2 * u - 1))
      return t
    }
    const w = denseCodec().encode(
      sourceOf("w", [IN, IN], () => uniforms(IN * IN, 9, 1)),
      scope,
      "w"
    )
    const [x, a, b] = [make("x", [TOKENS, IN], 1), make("a", [2, IN], 3), make("b", [IN, 2], 4)] as const
    const gradients = [a, b].map((t) => scope.tensor(t.shape, `d ${t.name}`))
    let products = 0
    const enqueue = queue.enqueue.bind(queue)
    queue.enqueue = (kernel, operands, params) => {
      if (/^dense\.apply(WithTail)?$/.test(kernel.name) && !queue.muted) products++
      enqueue(kernel, operands, params)
    }
    {
      using g = new Graph(queue, { overrides })
      g.watch(a, b)
      const y = checkpoint(g, x, (inner, t) =>
        inner.scoped(() =>
          addRows(inner, t, loraLinear(inner, t, w, [{ start: 0, rows: TOKENS, a, b, scale: 2 }]), 0, 1)
        )
      )
      g.backward(y, make("dy", [TOKENS, IN], 2), (t) => ({ tensor: gradients[t === a ? 0 : 1]!, accumulate: false }))
    }
    const values = await Promise.all(gradients.map((t) => queue.read(t)))
    await queue.close()
    return { values, products }
  }
  const composed = await run(new Map())
  const fused = await run(new Map([[fusedLoraLinear.op, fusedLoraLinear]]))
  assert.deepEqual([composed.products, fused.products], [1, 1])
  for (const [i, wanted] of composed.values.entries())
    for (const [j, v] of wanted.entries()) assert.ok(Math.abs(v - fused.values[i]![j]!) < 1e-5)
})
