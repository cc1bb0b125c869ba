import { oneArena, ReferenceQueue } from "@graft/core"
import { coreOpCases } from "./coreOpCases.ts"
import { testBackend } from "./testBackend.ts"
import { testGradient } from "./testOp.ts"

testBackend("reference", {
  limits: oneArena("reference"),
  open: (bytes) => new ReferenceQueue(bytes),
  record: async (bytes) => {
    const queue = new ReferenceQueue(bytes, { record: true })
    return { queue, flight: () => queue.flight! }
  }
})
for (const one of coreOpCases) testGradient("core", one)
