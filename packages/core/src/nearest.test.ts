import assert from "node:assert/strict"
import test from "node:test"
import { nearest } from "./nearest.ts"

test("a misspelt word finds the one it most likely meant, or none", () => {
  const options = ["learningRate", "steps", "warmup", "schedule", "seed"]
  assert.equal(nearest("learning_rate", options), "learningRate")
  assert.equal(nearest("LearningRate", options), "learningRate")
  assert.equal(nearest("step", options), "steps")
  assert.equal(nearest("sede", options), "seed")
  assert.equal(nearest("wramup", options), "warmup")
  assert.equal(nearest("temperature", options), undefined)
  assert.equal(nearest("x", options), undefined)
  assert.equal(nearest("steps", []), undefined)
})
