/** Fused pairs on the CPU: as the reference and torch compute them, in the planned memory, with equal bits for any number of threads. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { test } from "node:test"
import { CpuQueue, cpuLimits, loadNative, nativePath } from "@graft/backend-cpu"
import { Scope } from "@graft/core"
import { fusedPairs } from "@graft/fused-kernels"
import {
  arenasOf,
  goldenCases,
  loraCases,
  MiB,
  pairCases,
  runOpCase,
  testGolden,
  testOpOnBackend
} from "@graft/testing"

const overrides = new Map(fusedPairs.map((pair) => [pair.op, pair]))
const cases = [...loraCases, ...pairCases].map((one) => ({ ...one, name: `${one.name}, fused`, overrides }))

/** A chain of products and a softmax over a few tokens: small gradients are differences of roundings, composed as fused. */
const tolerance = { f32: 3e-5, rounded: 1 / 8 }

if (existsSync(nativePath())) {
  const native = loadNative()
  const info = native.info()
  const open = (threads: number) => (bytes: ReadonlyArray<number>) =>
    new CpuQueue(native, bytes, cpuLimits(info, threads), { threads, isa: info.isa })
  for (const one of cases) {
    testOpOnBackend("cpu", { limits: cpuLimits(info, 2), open: open(2), tolerance }, one)
    test(`cpu: ${one.name}: equal bits for 1, 2, 3, 4 and 7 threads`, { timeout: 60_000 }, async () => {
      const bits = async (threads: number) => {
        const queue = open(threads)(arenasOf(cpuLimits(info, threads), 4 * MiB))
        const scope = new Scope(queue, "weights")
        const { value, gradients } = runOpCase(queue, scope, one)
        const all = await Promise.all([value, ...gradients])
        scope[Symbol.dispose]()
        await queue.close()
        return all
      }
      const wanted = await bits(1)
      for (const threads of [2, 3, 4, 7]) assert.deepEqual(await bits(threads), wanted, `${threads} threads`)
    })
  }
  for (const isa of info.isas) {
    const opened = (bytes: ReadonlyArray<number>) =>
      new CpuQueue(native, bytes, cpuLimits(info, 2), { threads: 2, isa })
    for (const one of goldenCases)
      testGolden(`cpu ${isa}, fused`, { limits: cpuLimits(info, 2), open: opened, tolerance }, one, overrides)
  }
}
