import { type MicroBatch, type ModelDescription, supervisedIn } from "@graft/core"

/** What in the data this model cannot take. */
export const dataProblem = (model: ModelDescription, batches: ReadonlyArray<MicroBatch>): string | undefined => {
  const { name, maxPositions, vocabularySize } = model
  for (const { sample, ids } of batches.flat()) {
    if (ids.length > maxPositions) {
      return `row ${sample} of the data has ${ids.length} tokens, but ${name} has ${maxPositions} positions; set a smaller max length`
    }
    for (let i = 0; i < ids.length; i++) {
      if (!(ids[i]! >= 0 && ids[i]! < vocabularySize)) {
        return `row ${sample} of the data: token ${ids[i]} at place ${i} is not in the vocabulary of ${name} (0 … ${vocabularySize - 1}); use this model's tokenizer`
      }
    }
  }
  return undefined
}

/** A step of which nothing can be learnt: its loss would be 0 / 0. */
export const nothingLearnt = (
  step: number,
  micro: ReadonlyArray<MicroBatch>,
  nameOf: (sample: number) => string
): string | undefined => {
  if (micro.some((documents) => supervisedIn(documents) > 0)) return undefined
  const rows = micro.flat().map(({ sample }) => nameOf(sample))
  return `step ${step} has no token to learn: in ${rows.join(", ")} all are masked or cut away. Drop these rows, learn more of them, or set a larger max length`
}
