/** Documents that a toy learns in a few steps, and a dataset of them. */
import { Dataset, type Document, type MicroBatch, makePart, shapeOf } from "@graft/core"
import { Effect, Layer } from "effect"
import { toySizes } from "./toyModel.ts"

/** Counts upwards by a stride of its own. Each token is the target of the one before; the first `masked` are not learnt. */
export const toyDocument = (sample: number, length = 10, masked = 0): Document => {
  const ids = Array.from({ length }, (_, i) => (sample * 7 + i * (1 + (sample % 3))) % toySizes.vocabulary)
  return { sample, ids, targets: ids.map((_, i) => (i + 1 < length && i >= masked ? ids[i + 1]! : -1)) }
}

export interface ToyData {
  readonly stepsPerEpoch: number
  readonly batches: (step: number) => ReadonlyArray<MicroBatch>
  readonly evaluation: ReadonlyArray<MicroBatch>
  readonly fingerprint: string
}
/** Two micro-batches a step, of different shapes. */
export const toyData: ToyData = {
  stepsPerEpoch: 2,
  batches: (step) =>
    step % 2 === 1
      ? [[toyDocument(0), toyDocument(1, 7)], [toyDocument(2, 12, 3)]]
      : [[toyDocument(3, 9), toyDocument(4, 8)], [toyDocument(5)]],
  evaluation: [],
  fingerprint: "toy"
}
/** `Dataset.shapes` by going through the batches: the lengths of each distinct micro-batch. */
const shapesOf =
  (batches: (step: number) => ReadonlyArray<MicroBatch>) =>
  (steps: number): ReadonlyArray<ReadonlyArray<number>> => {
    const all = Array.from({ length: steps }, (_, i) => batches(i + 1)).flat()
    return [...new Map(all.map((m) => [shapeOf(m), m.map((d) => d.ids.length)])).values()]
  }
export const ToyDataset = {
  layer: (given: Partial<ToyData> = {}): Layer.Layer<Dataset> =>
    Layer.effect(
      Dataset,
      Effect.map(makePart("toy data"), (part) => {
        const data = { ...toyData, ...given }
        return { part, ...data, shapes: shapesOf(data.batches) }
      })
    )
}
