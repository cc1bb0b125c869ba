/** Adapters of a sweep have the bits that each has alone with the fused pairs too, whatever the activations are. */
import test from "node:test"
import { type ActivationDType, loadAtOnce, oneArena, ReferenceQueue } from "@graft/core"
import { fusedPairs } from "@graft/fused-kernels"
import { assertSame, toyLora, toyMicro, toyRecipe } from "@graft/testing"
import { makeSessions, planOf, stepTogether } from "@graft/trainer"

const overrides = new Map(fusedPairs.map((pair) => [pair.op, pair]))
const adapters = [toyLora({ rank: 2, dropout: 0.2 }), toyLora({ rank: 5 })]

const trained = async (compute: ActivationDType, some: typeof adapters) => {
  const recipe = toyRecipe({ compute, overrides })
  const limits = oneArena("reference")
  const queue = new ReferenceQueue(planOf(limits, recipe, toyMicro, { adapters: some }).memory.arenaBytes)
  const sessions = loadAtOnce(makeSessions(queue, recipe, some))
  for (let step = 1; step <= 3; step++)
    stepTogether(
      queue,
      sessions,
      step,
      toyMicro,
      () => 0.01,
      () => {}
    )
  const values = await Promise.all(sessions.map(({ saved }) => Promise.all(saved.map((one) => one.values()))))
  await queue.close()
  return values
}

for (const compute of ["f32", "bf16"] as const)
  test(`fused pairs in ${compute}: a sweep's adapters and each alone`, { timeout: 60_000 }, async () => {
    const together = await trained(compute, adapters)
    for (const [i, adapter] of adapters.entries()) {
      const [alone] = await trained(compute, [adapter])
      for (const [j, values] of together[i]!.entries()) assertSame(values, alone![j]!, `adapter ${i}, tensor ${j}`)
    }
  })
