import { oneArena, ReferenceQueue } from "@graft/core"
import { coreOpCases } from "./coreOpCases.ts"
import { testKernels } from "./testKernels.ts"
import { testOp } from "./testOp.ts"
import { testQueue } from "./testQueue.ts"

const backend = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }
testQueue("reference", backend)
testKernels("reference", backend)
for (const one of coreOpCases) testOp("reference", backend, one)
