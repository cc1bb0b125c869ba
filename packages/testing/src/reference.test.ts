import assert from "node:assert/strict"
import test from "node:test"
import { type Category, type Limits, oneArena, ReferenceQueue } from "@graft/core"
import { coreOpCases } from "./coreOpCases.ts"
import { pairCases } from "./pairCases.ts"
import { testBackend } from "./testBackend.ts"
import { goldenCases, goldenNames } from "./testGolden.ts"
import { testGradient } from "./testOp.ts"

testBackend("reference", {
  limits: oneArena("reference"),
  open: (bytes) => new ReferenceQueue(bytes),
  record: async (bytes) => {
    const queue = new ReferenceQueue(bytes, { record: true })
    return { queue, flight: () => queue.flight }
  }
})
/** As WebGPU wants it: what is read and what is written lie apart, 256-byte offsets, small buffers, no part as an operand. */
const constrained: Limits = {
  ...oneArena("constrained", 256),
  maxBufferBytes: 8 * 2 ** 20,
  arenas: 3,
  arenaOf: (category: Category) => (category === "weights" ? 0 : category === "activations" ? 1 : 2),
  views: false
}
testBackend("constrained reference", {
  limits: constrained,
  open: (bytes) => new ReferenceQueue(bytes, { limits: constrained })
})
for (const one of [...coreOpCases, ...pairCases]) testGradient("core", one)

test("all that torch computed is compared: an op case, the step, and DoRA in its own package", () => {
  const compared = new Set(goldenCases.map(({ name }) => name))
  assert.deepEqual(
    [...goldenNames].filter((name) => !compared.has(name)),
    ["doraLinear", "step"]
  )
})
