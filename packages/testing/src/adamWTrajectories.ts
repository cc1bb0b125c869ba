/** What torch.optim.AdamW computed (fixtures/adamw, and the golden vectors beside the repository). */
import { readFileSync } from "node:fs"
import { adamW } from "@graft/core"
import { fixtureAt, readNumbers } from "./readFixture.ts"
import { beside, isBeside } from "./testBeside.ts"
import type { Trajectory } from "./testOptimizer.ts"

interface Settings {
  readonly lr: number
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weight_decay: number
}
const make = ({ betas: [beta1, beta2], eps, weight_decay }: Settings) =>
  adamW({ beta1, beta2, epsilon: eps, weightDecay: weight_decay, groupFactors: {} })
/** One rounding apart in each of 100 steps. */
const tolerance = 1e-6

const fixtures = (): ReadonlyArray<Trajectory> => {
  const { tensor } = readNumbers(fixtureAt("adamw/adamw.safetensors"))
  const { runs, kept, steps } = JSON.parse(readFileSync(fixtureAt("adamw/adamw.json"), "utf8")) as {
    readonly runs: Readonly<Record<string, Settings>>
    readonly kept: ReadonlyArray<number>
    readonly steps: number
  } // our own file
  const start = tensor("p0")
  const gradients = tensor("grads")
  return Object.entries(runs).map(([name, settings]) => {
    const rates = tensor(`${name}.lr`)
    return {
      name,
      make: make(settings),
      start,
      tolerance,
      steps: Array.from({ length: steps }, (_, i) => ({
        gradient: gradients.subarray(i * start.length, (i + 1) * start.length),
        learningRate: rates[i]!,
        ...(kept.includes(i + 1)
          ? {
              parameters: tensor(`${name}.${i + 1}.p`),
              state: {
                exp_avg: tensor(`${name}.${i + 1}.exp_avg`),
                exp_avg_sq: tensor(`${name}.${i + 1}.exp_avg_sq`)
              }
            }
          : {})
      }))
    }
  })
}
const GOLDEN = "golden/optimizers.safetensors"
const golden = (): ReadonlyArray<Trajectory> => {
  if (!isBeside(GOLDEN)) return []
  const { tensor } = readNumbers(beside(GOLDEN))
  const trajectory: Trajectory = {
    name: "golden torch.AdamW",
    make: make({ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }),
    start: tensor("p0"),
    tolerance,
    steps: Array.from({ length: 5 }, (_, i) => ({
      gradient: tensor(`grad.${i}`),
      learningRate: 1e-3,
      parameters: tensor(`torch.AdamW.${i}.p`),
      state: { exp_avg: tensor(`torch.AdamW.${i}.exp_avg`), exp_avg_sq: tensor(`torch.AdamW.${i}.exp_avg_sq`) }
    }))
  }
  return [trajectory]
}
export const adamWTrajectories = (): ReadonlyArray<Trajectory> => [...fixtures(), ...golden()]
