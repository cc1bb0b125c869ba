/** An op on a backend: forward and backward as the reference computes them, in exactly the memory that the plan says. */
import assert from "node:assert/strict"
import test from "node:test"
import { type ActivationDType, MetaQueue, oneArena, type Queue, ReferenceQueue, Scope } from "@graft/core"
import { type BackendUnderTest, hasDType, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertClose } from "./closeness.ts"
import { coreOpCases } from "./coreOpCases.ts"
import { finiteDifference } from "./finiteDifference.ts"
import { type OpCase, runOpCase } from "./OpCase.ts"
import { toleranceOf } from "./testKernels.ts"

/** What truncation and f32 values leave between a slope and a gradient of size 1. */
const SLOPE_TOLERANCE = 3e-3

/** The tape's gradients against finite differences on the reference: of the op itself, whatever runs it. */
export const testGradient = (name: string, one: OpCase): void => {
  test(`${name}: ${one.name}: finite differences`, async () => {
    const open = (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes)
    const worst = await onDevice({ limits: oneArena("reference"), open }, (queue, scope) =>
      finiteDifference(queue, scope, one)
    )
    assert.ok(worst < SLOPE_TOLERANCE, `slope and gradient are ${worst} apart`)
  })
}

/** Runs a case in a scope of its own, so that all of its memory comes and goes. */
const alone = (queue: Queue, one: OpCase, options: Parameters<typeof runOpCase>[3]) => {
  using scope = new Scope(queue, "weights")
  return runOpCase(queue, scope, one, options)
}
const settled = async ({ value, gradients }: ReturnType<typeof alone>) => [
  await value,
  ...(await Promise.all(gradients))
]

/** The op on one backend. */
export const testOpOnBackend = (name: string, backend: BackendUnderTest, one: OpCase): void => {
  for (const activations of ["f32", "bf16"] as const) {
    if (![activations, ...(one.needs ?? [])].every((dtype) => hasDType(backend, dtype))) continue
    test(`${name}: ${one.name} in ${activations}`, () => checkOp(backend, one, activations))
  }
}
const checkOp = async (backend: BackendUnderTest, one: OpCase, activations: ActivationDType): Promise<void> => {
  const { limits } = backend
  const tolerance = toleranceOf(backend, [activations])
  const labels = ["value", ...one.inputs.map((t) => `gradient of ${t.name}`)]
  const reference = new ReferenceQueue(Array<number>(limits.arenas).fill(4 * MiB), { limits })
  const wanted = await settled(alone(reference, one, { activations }))
  await reference.close()

  // In exactly the memory that the plan says, with the same peak in every category.
  const meta = new MetaQueue(limits)
  alone(meta, one, { activations })
  const { arenaBytes, byCategory } = meta.plan
  const exact = await backend.open(arenaBytes)
  const got = await settled(alone(exact, one, { activations }))
  assert.deepEqual(exact.allocator.peaks, arenaBytes, "peak of each arena")
  assert.deepEqual(exact.allocator.peakByCategory, byCategory, "peak of each category")
  assert.equal(exact.allocator.liveBytes, 0, "bytes left behind")
  await exact.close()
  for (const [i, label] of labels.entries()) assertClose(got[i]!, wanted[i]!, tolerance, `${one.name}: ${label}`)

  await onDevice(backend, async (queue) => {
    // Each input alone: what needs no gradient is not missed by the others.
    for (const [i, { name }] of one.inputs.entries()) {
      const [, gradient] = await settled(alone(queue, one, { activations, watched: [i] }))
      assertClose(gradient!, wanted[i + 1]!, tolerance, `${one.name}: gradient of ${name} alone`)
    }
    const none = await settled(alone(queue, one, { activations, watched: [] }))
    assertClose(none[0]!, wanted[0]!, tolerance, `${one.name}: value without gradients`)
    // Gradients of micro-batches add up where they lie.
    const doubled = await settled(alone(queue, one, { activations, rounds: 2 }))
    for (const [i, { name }] of one.inputs.entries()) {
      assertClose(
        doubled[i + 1]!,
        wanted[i + 1]!.map((v) => 2 * v),
        tolerance,
        `${one.name}: gradient of ${name} twice`
      )
    }
  })
}

/** An op in whole: its gradient on the reference, and both passes on a backend. */
export const testOp = (name: string, backend: BackendUnderTest, one: OpCase): void => {
  testGradient(name, one)
  testOpOnBackend(name, backend, one)
}
export const testCoreOps = (name: string, backend: BackendUnderTest): void => {
  for (const one of coreOpCases) testOpOnBackend(name, backend, one)
}
