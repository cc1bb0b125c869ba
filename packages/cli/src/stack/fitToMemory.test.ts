import assert from "node:assert/strict"
import { test } from "node:test"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { type Fitting, fitToMemory, pagingCost, type Way } from "./fitToMemory.ts"

const MB = 1e6
const STATE = 800 * MB
const layers = 12
/** A run like any: a base, a state that pages or has fewer bits, activations a row and layer. */
const memoryOf = ({ checkpointing, parts, optimizer, optimizerMemory }: Way): number => {
  const state = optimizer.includes("8bit") ? STATE / 4 : STATE
  const n = Number(checkpointing)
  const rows = Math.ceil(4 / parts)
  return 1000 * MB + Math.min(state, optimizerMemory ?? state) + rows * (100 + 50 * (layers - n) + 2 * n) * MB
}
const costOf = (way: Way): number =>
  1e12 * (1 + (0.4 * Number(way.checkpointing)) / layers + 0.01 * way.parts) + pagingCost(STATE, "adamw", way)
const fitting = (budget: number, more: Partial<Fitting<never, never>> = {}): Fitting<never, never> => ({
  ...{ budget, layers, rows: 4, optimizer: "adamw", optimizerMemory: undefined, stateBytes: STATE },
  memoryOf: (way) => Effect.sync(() => memoryOf(way)),
  costOf,
  ...more
})
const choose = (budget: number, more: Partial<Fitting<never, never>> = {}) =>
  Effect.runPromise(fitToMemory(fitting(budget, more)))

const optimizers = [
  { optimizer: "adamw", optimizerMemory: undefined },
  { optimizer: "paged-adamw-32bit", optimizerMemory: 32 * 2 ** 20 }
]
const every = optimizers.flatMap((optimizer) =>
  [1, 2, 4].flatMap((parts) =>
    Array.from({ length: layers + 1 }, (_, checkpointing): Way => ({ ...optimizer, parts, checkpointing }))
  )
)
test("of all ways that change no number's rounding, the fastest that fits", async () => {
  for (let budget = 1200 * MB; budget < 5000 * MB; budget += 97 * MB) {
    const { chosen, others } = await choose(budget)
    assert.equal(chosen.bytes, memoryOf(chosen.way))
    assert.ok(chosen.bytes <= budget)
    const best = Math.min(...every.filter((way) => memoryOf(way) <= budget).map(costOf))
    assert.equal(costOf(chosen.way), best, JSON.stringify({ budget, chosen }))
    assert.ok(others.some(({ way }) => way === chosen.way))
    assert.equal(others[0]!.bytes, Math.min(...every.map(memoryOf)), "the table begins with the least")
    assert.ok(others.some(({ way }) => Number(way.checkpointing) === 0))
  }
})
test("with room for all of it nothing changes", async () => {
  const { chosen } = await choose(1e12)
  assert.deepEqual(chosen.way, { checkpointing: 0, parts: 1, optimizer: "adamw", optimizerMemory: undefined })
})
test("where nothing fits, the smallest budget that would is named, and does", async () => {
  const failed = await Effect.runPromise(Effect.flip(fitToMemory(fitting(100 * MB))))
  assert.ok(failed instanceof InvalidInput)
  const smallest = Number(/\((\d+) bytes\)/.exec(failed.message)?.[1])
  assert.match(failed.message, /all layers recomputed, micro-batches cut in 4, paged-adamw/)
  assert.equal((await choose(smallest)).chosen.bytes, smallest)
  await assert.rejects(choose(smallest - 1))
})
test("8 bits are taken only where nothing else fits, and never by whom they have been asked of already", async () => {
  // State that does not page: what is asked for by hand.
  const pinned = { optimizer: "paged-adamw", optimizerMemory: 700 * MB }
  const least = memoryOf({ ...pinned, parts: 4, checkpointing: layers })
  assert.equal((await choose(least, pinned)).chosen.way.optimizer, "paged-adamw")
  assert.equal((await choose(least - 1, pinned)).chosen.way.optimizer, "paged-adamw-8bit")
  const small = await choose(1e12, { optimizer: "adamw-8bit" })
  assert.equal(small.chosen.way.optimizer, "adamw-8bit")
})
test("a budget below the load's own peak, which no recomputation lowers, is searched to its end", async () => {
  const floor = (way: Way): number => Math.max(2000 * MB, memoryOf(way))
  const { chosen } = await choose(2000 * MB, { rows: 1, memoryOf: (way) => Effect.sync(() => floor(way)) })
  const fewest = every.filter(({ parts }) => parts === 1).filter((way) => floor(way) <= 2000 * MB)
  assert.equal(costOf(chosen.way), Math.min(...fewest.map(costOf)))
})
