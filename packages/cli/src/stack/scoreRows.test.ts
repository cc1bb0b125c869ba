import assert from "node:assert/strict"
import { test } from "node:test"
import { noScore, scoreRows } from "./scoreRows.ts"

test("loss is −log softmax at the target, whatever the size of the logits; rows without a target do not count", () => {
  const logits = Float32Array.of(1, 2, 3, 1000, 1001, 1002, 0, 0, 0)
  const score = scoreRows(noScore, logits, [2, 0, -1])
  const z = Math.exp(1) + Math.exp(2) + Math.exp(3)
  assert.ok(Math.abs(score.loss - (2 * Math.log(z) - 3 - 1)) < 1e-12)
  assert.deepEqual([score.correct, score.tokens], [1, 2])
  assert.deepEqual(scoreRows(score, logits, [-1, -1, -1]), score)
})
