/** Central differences against the tape, in f32 on the reference queue. */
import { Graph, type Queue, type Scope } from "@graft/core"
import { type OpCase, outputGradient, runOpCase, valuesOf } from "./OpCase.ts"
import { tensorOf } from "./tensorOf.ts"

/** Values are f32: a smaller step drowns in their rounding, a larger one in the third derivative. */
const STEP = 5e-3

/** The worst difference between slope and gradient, over the first, middle and last element of each input. */
export const finiteDifference = async (queue: Queue, scope: Scope, one: OpCase): Promise<number> => {
  const values = valuesOf(one)
  const tensors = one.inputs.map(({ name, shape }, i) => tensorOf(scope, name, shape, values[i]!))
  const apply = one.prepare(scope)
  const value = (): Promise<Float32Array> => {
    using g = new Graph(queue, one.overrides === undefined ? {} : { overrides: one.overrides })
    return queue.read(apply(g, tensors))
  }
  const slopes: Array<{ readonly input: number; readonly element: number; readonly slope: Promise<number> }> = []
  for (const [input, t] of tensors.entries()) {
    for (const element of new Set([0, Math.floor(t.size / 2), t.size - 1])) {
      const at = (by: number) => {
        queue.upload(t, () => Float32Array.from(values[input]!, (v, i) => (i === element ? v + by : v)))
        return value()
      }
      const [above, below] = [at(STEP), at(-STEP)]
      queue.upload(t, () => values[input]!)
      slopes.push({
        input,
        element,
        slope: Promise.all([above, below]).then(([a, b]) => {
          const dy = outputGradient(a.length)
          return a.reduce((sum, v, i) => sum + (v - b[i]!) * dy[i]!, 0) / (2 * STEP)
        })
      })
    }
  }
  const { gradients } = runOpCase(queue, scope, one)
  let worst = 0
  for (const { input, element, slope } of slopes) {
    const gradient = (await gradients[input]!)[element]!
    worst = Math.max(worst, Math.abs((await slope) - gradient) / Math.max(1, Math.abs(gradient)))
  }
  return worst
}
