/** What a run takes, to the byte: load, and one step of each distinct shape, with nothing executed. */
import { type Category, type Limits, loadAtOnce, type MemoryPlan, type MicroBatch, shapeOf } from "@graft/core"
import { memoryOverStep, WatchedQueue } from "./memoryOverStep.ts"
import { makeSession, type Recipe } from "./Session.ts"

export interface RunPlan {
  readonly memory: MemoryPlan
  /** The ops of one step of the first shape, in order. */
  readonly ops: ReadonlyArray<string>
  readonly trainableParameters: number
  /** Bytes live in the course of that step. */
  readonly memoryOverStep: ReadonlyMap<Category, ReadonlyArray<number>>
}
/** A stand-in for documents of which only the lengths are known. */
export const blankDocument = (tokens: number): MicroBatch[number] => ({
  sample: 0,
  ids: { length: tokens },
  targets: { length: tokens }
})

/**
 * Memory returns to its mark after each micro-batch and peak is not monotone in the batch (best fit), so the peak of a run
 * is the highest of its distinct shapes, each planned once.
 */
export const planOf = (
  limits: Limits,
  recipe: Recipe,
  training: ReadonlyArray<MicroBatch>,
  evaluation: ReadonlyArray<MicroBatch> = []
): RunPlan => {
  const queue = new WatchedQueue(limits)
  using session = loadAtOnce(makeSession(queue, recipe))
  let ops: ReadonlyArray<string> | undefined
  let moments = queue.moments
  for (const documents of distinct(training)) {
    const from = queue.ops.length
    const began = queue.moments.length
    session.step(1, [documents], 0, () => {})
    if (ops === undefined) moments = queue.moments.slice(began)
    ops ??= queue.ops.slice(from)
  }
  for (const documents of distinct(evaluation)) session.evaluate(documents, () => {})
  const trainableParameters = session.parameters.entries.reduce((n, [, t]) => n + t.size, 0)
  return { memory: queue.plan, ops: ops ?? [], trainableParameters, memoryOverStep: memoryOverStep(moments) }
}
const distinct = (batches: ReadonlyArray<MicroBatch>): ReadonlyArray<MicroBatch> => [
  ...new Map(batches.map((documents) => [shapeOf(documents), documents])).values()
]
