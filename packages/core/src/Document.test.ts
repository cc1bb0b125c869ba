import assert from "node:assert/strict"
import test from "node:test"
import { onReference } from "../../testing/src/onReference.ts"
import { collate, shapeOf, supervisedIn, tokensIn } from "./Document.ts"

const documents = [
  { sample: 40, ids: [5, 6, 7], targets: [6, 7, -1] },
  { sample: 3, ids: [1, 2], targets: [-100, 9] }
]
test("documents lie end to end, positions start again in each", () =>
  onReference(async (queue, scope) => {
    const batch = collate(scope, documents, { seed: 1, step: 2, training: true })
    const read = async (key: "ids" | "targets" | "segments" | "rowKeys") => [...(await queue.read(batch[key]))]
    assert.deepEqual(await read("ids"), [5, 6, 7, 1, 2])
    assert.deepEqual(await read("targets"), [6, 7, -1, -100, 9])
    assert.deepEqual(await read("segments"), [0, 3, 0, 3, 3, 2, 3, 2])
    assert.deepEqual(await read("rowKeys"), [40, 0, 40, 1, 40, 2, 3, 0, 3, 1])
    assert.deepEqual([batch.seed, batch.step, batch.training], [1, 2, true])
  }))
test("tokens are counted, supervised or not, and a shape is what memory depends on", () => {
  assert.equal(tokensIn(documents), 5)
  assert.equal(supervisedIn(documents), 3)
  assert.equal(shapeOf(documents), shapeOf([documents[1]!, documents[0]!]))
  assert.notEqual(shapeOf(documents), shapeOf([{ sample: 0, ids: [1, 2, 3, 4, 5], targets: [] }]))
})
