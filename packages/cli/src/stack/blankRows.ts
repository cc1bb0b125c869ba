/** Rows of which only the length is said, for a plan without data. */
import { Dataset, type Document, makePart } from "@graft/core"
import { Effect, Layer } from "effect"

export const blankRows = (tokens: number, batchSize: number, gradAccumulation: number) => {
  const zeros = Array<number>(tokens).fill(0)
  const row: Document = { sample: 0, ids: zeros, targets: zeros }
  const step = Array.from({ length: gradAccumulation }, () => Array<Document>(batchSize).fill(row))
  const batches = () => step
  const dataset = Layer.effect(
    Dataset,
    Effect.map(makePart(`${batchSize} × ${tokens} tokens`), (part) => ({
      part,
      stepsPerEpoch: 1,
      batches,
      shapes: () => [Array<number>(batchSize).fill(tokens)],
      evaluation: [],
      fingerprint: `blank ${tokens} ${batchSize} ${gradAccumulation}`
    }))
  )
  return { dataset, stepsPerEpoch: 1, batches, report: undefined }
}
