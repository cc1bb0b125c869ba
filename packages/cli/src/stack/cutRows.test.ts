import assert from "node:assert/strict"
import { test } from "node:test"
import { Dataset } from "@graft/core"
import { blankDocument } from "@graft/trainer"
import { Effect } from "effect"
import { blankRows } from "./blankRows.ts"
import { cutMicroBatch, cutRows } from "./cutRows.ts"

const lengths = (parts: ReadonlyArray<ReadonlyArray<{ readonly ids: { readonly length: number } }>>) =>
  parts.map((documents) => documents.map(({ ids }) => ids.length))

test("parts keep the rows' order and have about as many tokens each", () => {
  const documents = [5, 5, 5, 5, 10, 10].map(blankDocument)
  assert.deepEqual(lengths(cutMicroBatch(documents, 1)), [[5, 5, 5, 5, 10, 10]])
  assert.deepEqual(lengths(cutMicroBatch(documents, 2)), [
    [5, 5, 5, 5],
    [10, 10]
  ])
  assert.deepEqual(
    lengths(cutMicroBatch(documents, 6)),
    [[5], [5], [5], [5], [10], [10]].map((one) => one)
  )
  assert.deepEqual(lengths(cutMicroBatch([blankDocument(40)], 4)), [[40]])
})
test("a data set's shapes are those of its cut micro-batches", async () => {
  const rows = cutRows(blankRows(7, 4, 3).dataset, 2)
  const cut = await Effect.runPromise(
    Effect.provide(
      Effect.flatMap(Dataset, (dataset) => Effect.succeed(dataset)),
      rows
    )
  )
  assert.deepEqual(lengths(cut.batches(1)), Array<ReadonlyArray<number>>(6).fill([7, 7]))
  assert.deepEqual(cut.shapes(5), [[7, 7]])
})
