/** No work that nobody reads: the ops of a planned step, counted by kernel. */
import assert from "node:assert/strict"
import test from "node:test"
import { oneArena } from "@graft/core"
import { fusedLinearCrossEntropy, fusedLoraLinear } from "@graft/fused-kernels"
import { toyDocument, toyLora, toyRecipe, toySizes } from "@graft/testing"
import { planOf } from "@graft/trainer"

const overrides = new Map([fusedLinearCrossEntropy, fusedLoraLinear].map((one) => [one.op, one]))
const LINEARS = 7 * toySizes.layers
const programOf = (checkpointing: boolean, compute: "f32" | "bf16" = "f32") => {
  const recipe = toyRecipe({ overrides, adapter: toyLora({ rank: 3 }), checkpointing, compute })
  const { program, ops } = planOf(oneArena("meta"), recipe, [[toyDocument(0, 20), toyDocument(1, 13)]])
  /** Products, with a tail or without. */
  const count = (name: string) => ops.filter((op) => op === name || op === `${name}WithTail`).length
  return { program, count }
}

test("there is no dx below the first adapter", () => {
  const { count } = programOf(false)
  assert.equal(count("dense.apply"), LINEARS + 1) // and the head
  assert.equal(count("dense.applyTransposed"), LINEARS - 3 + 1) // q, k and v of the first layer read the embedding
})

test("adapters' shares of y and dx are tails of the products with W", () => {
  const { count } = programOf(false)
  assert.equal(count("dense.applyWithTail"), LINEARS)
  assert.equal(count("dense.applyTransposedWithTail"), LINEARS - 3)
})

test("recomputation leaves out the product of down_proj and the head", () => {
  const { count } = programOf(true)
  assert.equal(count("dense.apply"), LINEARS + 1 + (LINEARS - toySizes.layers))
  assert.equal(count("dense.applyTransposed"), LINEARS - 3 + 1)
})

test("in bf16 no activation is copied to f32, and nothing is zeroed before it is written", () => {
  const { program } = programOf(false, "bf16")
  const copies = program.filter((op) => /^addScaled .* (f32\[\d+,\d+\] bf16|bf16\[\d+,\d+\] f32)\[/.test(op))
  assert.deepEqual(copies, []) // the gradient of the logits is rounded where it is made
  const zeroed = program.filter((op) => /^fill \{"value":0\} \S+\[\d+,\d+\]/.test(op))
  assert.deepEqual(zeroed, [])
})
