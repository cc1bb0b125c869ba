/**
 * The rows of a data set in smaller micro-batches: each is cut into parts of about as many tokens, in the order it has. A
 * step has the same rows, and its loss is the mean over the same tokens.
 */
import { Dataset, type MicroBatch, makePart, shapeOf } from "@graft/core"
import { Effect, Layer } from "effect"

/** Parts of at most a `parts`th of the tokens each, or of one row. */
export const cutMicroBatch = (documents: MicroBatch, parts: number): ReadonlyArray<MicroBatch> => {
  if (parts === 1) return [documents]
  const most = Math.ceil(documents.reduce((n, { ids }) => n + ids.length, 0) / parts)
  const cut: Array<Array<MicroBatch[number]>> = []
  let tokens = most
  for (const document of documents) {
    if (tokens + document.ids.length > most) {
      cut.push([])
      tokens = 0
    }
    cut.at(-1)?.push(document)
    tokens += document.ids.length
  }
  return cut
}

export const cutStep =
  (batches: Dataset["Service"]["batches"], parts: number): Dataset["Service"]["batches"] =>
  (step) =>
    batches(step).flatMap((documents) => cutMicroBatch(documents, parts))

export const cutRows = <E, R>(rows: Layer.Layer<Dataset, E, R>, parts: number): Layer.Layer<Dataset, E, R> =>
  Layer.effect(
    Dataset,
    Effect.gen(function* () {
      const below = yield* Dataset
      const batches = cutStep(below.batches, parts)
      return {
        ...below,
        part: yield* makePart(`micro-batches cut in ${parts}`, below),
        batches,
        shapes: (steps) => {
          const shapes = new Map<string, ReadonlyArray<number>>()
          for (let step = 1; step <= steps; step++)
            for (const documents of batches(step))
              shapes.set(
                shapeOf(documents),
                documents.map(({ ids }) => ids.length)
              )
          return [...shapes.values()]
        },
        evaluation: below.evaluation.flatMap((documents) => cutMicroBatch(documents, parts))
      }
    })
  ).pipe(Layer.provide(rows))
