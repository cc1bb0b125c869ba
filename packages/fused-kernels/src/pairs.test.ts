/**
 * Every pair on the cases of its op: finite differences, each input alone, in the planned memory; as the composed op computes
 * it; and as torch does (fixtures/make_pairs.py of packages/testing), where torch has computed the case.
 */
import assert from "node:assert/strict"
import test from "node:test"
import { oneArena, ReferenceQueue } from "@graft/core"
import {
  assertClose,
  coreOpCases,
  goldenCases,
  loraCases,
  type OpCase,
  onDevice,
  pairCases,
  runOpCase,
  testGolden,
  testOp
} from "@graft/testing"
import { FusedKernels, fusedPairs } from "./FusedKernels.ts"

const overrides = new Map(fusedPairs.map((pair) => [pair.op, pair]))
const reference = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }
const isOf =
  (op: string) =>
  ({ name }: OpCase) =>
    name === op || name.startsWith(`${op},`) || name.startsWith(`${op} `)
const isPaired = (one: OpCase): boolean => FusedKernels.ops.some((op) => isOf(op)(one))
const settled = (one: OpCase) =>
  onDevice(reference, async (queue, scope) => {
    const { value, gradients } = runOpCase(queue, scope, one)
    return [await value, ...(await Promise.all(gradients))]
  })

// fusedLora.test.ts has those of loraCases, in bf16 and recomputed too.
for (const one of [...coreOpCases, ...pairCases].filter(isPaired)) {
  const fused: OpCase = { ...one, name: `${one.name}, fused`, overrides }
  testOp("fused-kernels", reference, fused)
  test(`${one.name}: fused as composed`, async () => {
    const [got, wanted] = [await settled(fused), await settled(one)]
    for (const [i, values] of wanted.entries()) assertClose(got[i]!, values, 1e-5, `${one.name}, ${i}`)
  })
}
for (const one of goldenCases.filter(isPaired)) testGolden("fused-kernels", reference, one, overrides)

test("every pair has cases of its own and cases that torch has computed", () => {
  for (const op of FusedKernels.ops) {
    assert.ok([...coreOpCases, ...pairCases, ...loraCases].some(isOf(op)), `${op} has no case`)
    assert.ok(goldenCases.some(isOf(op)), `${op} has none that torch computed`)
  }
})
