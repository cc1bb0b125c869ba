/** One row of random tokens, learnt again and again: what a model without a tokenizer can be shown. */
import { Dataset, type Document, makePart, uniforms } from "@graft/core"
import { Effect, Layer } from "effect"

export const randomRows = (tokens: number): Layer.Layer<Dataset> => {
  const ids = Array.from(uniforms(tokens, 3, 4), (u) => 3 + Math.floor(31_997 * u))
  const row: Document = { sample: 0, ids, targets: [...ids.slice(1), -1] }
  const batches = () => [[row]]
  return Layer.effect(
    Dataset,
    Effect.map(makePart("random rows"), (part) => ({
      part,
      stepsPerEpoch: 1,
      batches,
      shapes: () => [[tokens]],
      evaluation: [],
      fingerprint: `random ${tokens}`
    }))
  )
}
