/** A profile knows each command that ran, its work from shapes, and that nothing overlaps on the queue's thread. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import test from "node:test"
import { attention, fill, Graph, gemm, plainGemm, Scope } from "@graft/core"
import { cpuLimits } from "./Cpu.ts"
import { CpuQueue } from "./CpuQueue.ts"
import { loadNative, nativePath } from "./native.ts"
import { Profile } from "./Profile.ts"
import { pairsIn } from "./workOf.ts"

test("pairs of queries and keys, with a past and a window", () => {
  const segments = Int32Array.from([0, 3, 0, 3, 3, 2, 3, 5])
  assert.equal(pairsIn(segments, 0), 1 + 2 + 3 + 4 + 5)
  assert.equal(pairsIn(segments, 2), 1 + 2 + 2 + 2 + 2)
  assert.equal(pairsIn(segments, 100), pairsIn(segments, 0))
})

test("commands, their ops, work and times", { skip: !existsSync(nativePath()) }, async () => {
  const native = loadNative()
  const info = native.info()
  const profile = new Profile()
  const queue = new CpuQueue(native, [1 << 20], cpuLimits(info, 1), { threads: 1, isa: info.isa, profile })
  const scope = new Scope(queue, "activations")
  const tensor = (name: string, rows: number, columns: number) => {
    const t = scope.tensor([rows, columns], name)
    queue.enqueue(fill, [t], { value: 0.5 })
    return t
  }
  queue.origin = "a product"
  const [out, a, b] = [tensor("out", 8, 32), tensor("a", 8, 16), tensor("b", 16, 32)]
  queue.enqueue(gemm, [out, a, b], { ...plainGemm, m: 8, k: 16, n: 32 })
  const segments = scope.tensor([1, 4], "segments", "i32")
  queue.upload(segments, () => Int32Array.from([0, 8, 0, 8]))
  {
    using g = new Graph(queue)
    attention(g, tensor("q", 8, 16), tensor("k", 8, 8), tensor("v", 8, 8), segments, {
      heads: 2,
      kvHeads: 1,
      headDim: 8,
      scale: 1
    })
  }
  await queue.close()
  const commands = profile.collect()
  assert.deepEqual(
    commands.map(({ kernel }) => kernel),
    ["fill", "fill", "fill", "gemm", "fill", "fill", "fill", "attention"]
  )
  const [product, attended] = [commands[3]!, commands[7]!]
  assert.equal(product.op, "a product")
  assert.equal(product.implementation, info.isa)
  assert.equal(product.flops, 2 * 8 * 16 * 32)
  assert.equal(product.bytes, 4 * (8 * 32 + 8 * 16 + 16 * 32))
  assert.equal(attended.op, "attention")
  assert.equal(attended.flops, 4 * 36 * 2 * 8)
  for (const [i, { begin, end }] of commands.entries())
    assert.ok(begin <= end && (i === 0 || commands[i - 1]!.end <= begin))
})
