import assert from "node:assert/strict"
import test from "node:test"
import { learningRateAt, type ScheduleKind } from "./schedule.ts"

/** Rates before each step by transformers 5.23.0, get_scheduler (constant: constant_with_warmup), learning rate 2e-4. */
const transformers: ReadonlyArray<
  readonly [kind: ScheduleKind, warmupSteps: number, steps: number, rates: Readonly<Record<number, number>>]
> = [
  ["constant", 0, 10, { 1: 2e-4, 2: 2e-4, 10: 2e-4 }],
  ["constant", 3, 10, { 1: 0, 2: 6.666666666666667e-5, 3: 0.00013333333333333334, 4: 2e-4, 10: 2e-4 }],
  ["constant", 4, 4, { 1: 0, 2: 5e-5, 3: 1e-4, 4: 1.5e-4 }],
  ["constant", 10, 100, { 1: 0, 2: 2e-5, 3: 4e-5, 51: 2e-4, 100: 2e-4 }],
  ["linear", 0, 10, { 1: 2e-4, 2: 1.8e-4, 3: 1.6e-4, 6: 1e-4, 9: 4e-5, 10: 2e-5 }],
  ["linear", 3, 10, { 1: 0, 2: 6.666666666666667e-5, 4: 2e-4, 6: 0.00014285714285714287, 10: 2.857142857142857e-5 }],
  ["linear", 4, 4, { 1: 0, 4: 1.5e-4 }],
  ["linear", 10, 100, { 4: 6e-5, 51: 0.00011111111111111112, 99: 4.444444444444445e-6, 100: 2.2222222222222225e-6 }],
  [
    "cosine",
    0,
    10,
    { 1: 2e-4, 2: 0.00019510565162951537, 4: 0.00015877852522924732, 6: 1e-4, 10: 4.8943483704846475e-6 }
  ],
  ["cosine", 3, 10, { 1: 0, 3: 0.00013333333333333334, 6: 0.00016234898018587337, 10: 9.903113209758096e-6 }],
  ["cosine", 4, 4, { 1: 0, 3: 1e-4 }],
  ["cosine", 10, 100, { 2: 2e-5, 51: 0.00011736481776669306, 99: 2.4359497401758024e-7, 100: 6.09172980904238e-8 }]
]
for (const [kind, warmupSteps, steps, rates] of transformers) {
  test(`${kind}, ${warmupSteps} of ${steps} steps of warm-up: the rates of transformers`, () => {
    for (const [step, wanted] of Object.entries(rates)) {
      const got = learningRateAt({ kind, learningRate: 2e-4, warmupSteps, steps }, Number(step))
      assert.ok(Math.abs(got - wanted) <= 1e-12 * 2e-4, `step ${step}: ${got}, wanted ${wanted}`)
    }
  })
}
test("beyond the last step a rate is not negative", () => {
  for (const kind of ["linear", "cosine"] as const)
    assert.ok(learningRateAt({ kind, learningRate: 1, warmupSteps: 0, steps: 5 }, 9) >= 0)
})
