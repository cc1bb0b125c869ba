import { oneArena, ReferenceQueue } from "@graft/core"
import { testKernels } from "./testKernels.ts"
import { testQueue } from "./testQueue.ts"

const backend = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }
testQueue("reference", backend)
testKernels("reference", backend)
