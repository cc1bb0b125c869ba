/** Ops, and a step of clipping and AdamW, beside what torch's autograd makes of the same numbers (fixtures/make_pairs.py). */
import assert from "node:assert/strict"
import test from "node:test"
import { adamW, clipControl, fill, type Overrides, sumSquares } from "@graft/core"
import { type BackendUnderTest, onDevice } from "./BackendUnderTest.ts"
import { assertClose } from "./closeness.ts"
import { coreOpCases } from "./coreOpCases.ts"
import { loraCases } from "./loraCases.ts"
import { type OpCase, runOpCase } from "./OpCase.ts"
import { pairCases } from "./pairCases.ts"
import { fixtureAt, readNumbers } from "./readFixture.ts"
import { randomValues, tensorOf } from "./tensorOf.ts"
import { toleranceOf } from "./testKernels.ts"
import { optimizerRun, optimizerSpecs } from "./testOptimizer.ts"

const { tensor: numbers, names } = readNumbers(fixtureAt("pairs/pairs.safetensors"))
/** The names of all cases that torch computed. */
export const goldenNames: ReadonlySet<string> = new Set(names.map((name) => name.split("/")[0]!).sort())
/** The cases that torch computed too. */
export const goldenCases: ReadonlyArray<OpCase> = [...coreOpCases, ...loraCases, ...pairCases].filter(({ name }) =>
  goldenNames.has(name)
)

/** A case by its own implementation or by those of `overrides`. */
export const testGolden = (name: string, backend: BackendUnderTest, one: OpCase, overrides?: Overrides): void => {
  test(`${name}: ${one.name} is torch's`, () =>
    onDevice(backend, async (queue, scope) => {
      const { value, gradients } = runOpCase(queue, scope, overrides === undefined ? one : { ...one, overrides })
      const tolerance = 3 * toleranceOf(backend, []) // theirs is f64: roundings of a whole chain
      assertClose(await value, numbers(`${one.name}/value`), tolerance, "value")
      for (const [i, t] of one.inputs.entries())
        assertClose(await gradients[i]!, numbers(`${one.name}/d ${t.name}`), tolerance, `gradient of ${t.name}`)
    }))
}

/** Sums of gradients over tokens, clipped by the norm of their mean, then AdamW: norms and parameters after each step. */
const testStep = (name: string, backend: BackendUnderTest): void => {
  test(`${name}: clipping and AdamW are torch's`, () =>
    onDevice(backend, async (queue, scope) => {
      const make = adamW({ beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, groupFactors: {} })
      const specs = optimizerSpecs.slice(0, 3)
      const { parameters, gradients, optimizer } = optimizerRun(queue, scope, make, specs)
      const control = tensorOf(scope, "control", [4], [0, 0, 0, 0])
      const partials = scope.tensor([gradients.ranges.length], "Σ g²")
      const norms: Array<number> = []
      for (let t = 1; t <= 5; t++) {
        const tokens = tensorOf(scope, "tokens", [1], [16 * t])
        for (const [i, { path }] of specs.entries())
          queue.upload(gradients.get(path), () => randomValues(gradients.get(path).size, 100 * t + i, 16))
        queue.enqueue(fill, [partials], { value: 0 })
        for (const [slot, { flat }] of gradients.ranges.entries()) queue.enqueue(sumSquares, [partials, flat], { slot })
        queue.enqueue(clipControl, [control, partials, tokens], { maxNorm: 2 })
        optimizer.update(control, 0.01)
        norms.push((await queue.read(control))[3]!)
        for (const { path } of specs)
          assertClose(await queue.read(parameters.get(path)), numbers(`step/${t}.${path}`), 2e-6, `${path}, step ${t}`)
      }
      assertClose(norms, numbers("step/norms"), 2e-6, "norms")
      assert.ok(norms[0]! > 2 && norms[4]! < 2, "one is clipped, one is not")
    }))
}

export const testGoldenOps = (name: string, backend: BackendUnderTest): void => {
  for (const one of goldenCases) testGolden(name, backend, one)
  testStep(name, backend)
}
