/** All that a backend must do, in one call. */
import { adamW } from "@graft/core"
import { adamWTrajectories } from "./adamWTrajectories.ts"
import type { BackendUnderTest } from "./BackendUnderTest.ts"
import { testAdapter } from "./testAdapter.ts"
import { testGoldenOps } from "./testGolden.ts"
import { testKernels } from "./testKernels.ts"
import { testModel } from "./testModel.ts"
import { testCoreOps } from "./testOp.ts"
import { testOptimizer } from "./testOptimizer.ts"
import { testQueue } from "./testQueue.ts"
import { testRuntime } from "./testRuntime.ts"
import { testSession } from "./testSession.ts"
import { denseWeights, testWeight } from "./testWeight.ts"
import { toyLora } from "./toyAdapters.ts"

export const testBackend = (name: string, backend: BackendUnderTest): void => {
  testQueue(name, backend)
  testKernels(name, backend)
  testCoreOps(name, backend)
  testGoldenOps(name, backend)
  for (const weight of denseWeights) testWeight(name, backend, weight)
  const make = adamW({ beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, groupFactors: { lora_B: 4 } })
  testOptimizer(name, backend, { name: "AdamW", make, decays: true, trajectories: adamWTrajectories })
  testAdapter(name, backend, { name: "LoRA", plan: toyLora(), startsAsBase: false })
  testModel(name, backend)
  testSession(name, backend)
  testRuntime(name, backend)
}
