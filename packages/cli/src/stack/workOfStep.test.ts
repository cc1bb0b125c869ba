import assert from "node:assert/strict"
import { test } from "node:test"
import { blankDocument } from "@graft/trainer"
import { workOfStep } from "./workOfStep.ts"

const model = { linears: [{ path: "a", outFeatures: 10, inFeatures: 20 }] }
const shape = { vocabularySize: 30, hiddenSize: 5, queryWidth: 5, layers: 1 }
const options = { trainsBase: false, checkpointing: false, trainableParameters: 0 }

test("a frozen weight is multiplied twice a token, a trained one three times, recomputation once more", () => {
  const work = (tokens: number, more = {}) =>
    workOfStep(model, shape, [[blankDocument(tokens)]], { ...options, ...more })
  const attention = (tokens: number, times: number) => 2 * tokens ** 2 * 5 * times
  assert.equal(work(7), 7 * 2 * (200 * 2 + 150 * 2) + attention(7, 3.5))
  assert.equal(work(7, { checkpointing: true }), 7 * 2 * (200 * 3 + 150 * 2) + attention(7, 4.5))
  assert.equal(work(7, { trainsBase: true }), 7 * 2 * (200 * 3 + 150 * 3) + attention(7, 3.5))
  assert.equal(work(7, { trainableParameters: 11 }) - work(7), 7 * 2 * 11 * 3)
})

test("a layer that slides attends to no more than its window", () => {
  const two = { ...shape, layers: 2 }
  const work = (more: object, tokens = 10) => workOfStep(model, { ...two, ...more }, [[blankDocument(tokens)]], options)
  // Of 55 pairs of a query and a key 10 · 4 − 6 are within four keys; halves of the diagonal are left out on both sides.
  const saved = 2 * (10 ** 2 - 4 * (20 - 4)) * 5 * 3.5
  assert.equal(work({}) - work({ window: 4, slidingLayers: [true, false] }), saved)
  assert.equal(work({}) - work({ window: 4 }), 2 * saved)
  assert.equal(work({}, 3), work({ window: 4 }, 3))
})
