import assert from "node:assert/strict"
import { test } from "node:test"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { type Fitting, fitToMemory, OPERATIONS_PER_BYTE, pagingCost } from "./fitToMemory.ts"
import type { Way } from "./Way.ts"

const MB = 1e6
const [STATE, WEIGHTS] = [800 * MB, 900 * MB]
const layers = 12
const LEAST_STREAMED = 150 * MB
/** Of a step without recomputation: what making the attention, and the rest of all layers, again costs more. */
const [ATTENTION, REST] = [0.01, 0.39]
/** A run like any: a base, a state that pages or has fewer bits, activations a row and layer. */
const memoryOf = ({ checkpointing, attentionAgain, parts, optimizer, optimizerMemory, weightsMemory }: Way): number => {
  const state = optimizer.includes("8bit") ? STATE / 4 : STATE
  const n = Number(checkpointing)
  const m = attentionAgain ?? n
  const rows = Math.ceil(4 / parts)
  const weights = Math.min(WEIGHTS, weightsMemory ?? WEIGHTS)
  return (
    100 * MB +
    weights +
    Math.min(state, optimizerMemory ?? state) +
    rows * (100 + 45 * (layers - n) + 5 * (layers - m) + 2 * n) * MB
  )
}
const costWith =
  (attention: number) =>
  (way: Way): number => {
    const n = Number(way.checkpointing)
    const again = (REST * n + attention * (way.attentionAgain ?? n)) / layers
    const arithmetic = 1e12 * (1 + again + 0.01 * way.parts) + pagingCost(STATE, "adamw", way)
    const { weightsMemory } = way
    return weightsMemory === undefined
      ? arithmetic
      : Math.max(arithmetic, OPERATIONS_PER_BYTE * 2 * way.parts * (WEIGHTS - weightsMemory))
  }
const costOf = costWith(ATTENTION)
const fitting = (budget: number, more: Partial<Fitting<never, never>> = {}): Fitting<never, never> => ({
  ...{ budget, layers, rows: 4, optimizer: "adamw", optimizerMemory: undefined, stateBytes: STATE },
  memoryOf: (way) => Effect.sync(() => memoryOf(way)),
  costOf,
  leastWeightsMemory: Effect.succeed(undefined),
  ...more
})
const choose = (budget: number, more: Partial<Fitting<never, never>> = {}) =>
  Effect.runPromise(fitToMemory(fitting(budget, more)))
const streamable = { leastWeightsMemory: Effect.succeed(LEAST_STREAMED) }

const optimizers = [
  { optimizer: "adamw", optimizerMemory: undefined },
  { optimizer: "paged-adamw-32bit", optimizerMemory: 32 * 2 ** 20 }
]
const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n + 1 }, (_, i) => i)
const every = optimizers.flatMap((optimizer) =>
  [1, 2, 4].flatMap((parts) =>
    upTo(layers).flatMap((checkpointing) =>
      upTo(layers).map((attentionAgain): Way => ({ ...optimizer, parts, checkpointing, attentionAgain }))
    )
  )
)
for (const [name, attention] of [
  ["attention goes first where it costs less a byte", ATTENTION],
  ["attention goes last where it costs more", 0.2]
] as const)
  test(`of all ways that change no number's rounding, the fastest that fits; ${name}`, async () => {
    const cost = costWith(attention)
    // Its order is that of a knapsack, which is right but for the last piece that is put in.
    const piece = (1e12 * Math.max(attention, REST)) / layers
    let hit = 0
    for (let budget = 1200 * MB; budget < 5000 * MB; budget += 97 * MB) {
      const { chosen, others } = await choose(budget, { costOf: cost })
      assert.equal(chosen.bytes, memoryOf(chosen.way))
      assert.ok(chosen.bytes <= budget)
      const best = Math.min(...every.filter((way) => memoryOf(way) <= budget).map(cost))
      assert.ok(cost(chosen.way) < best + piece, JSON.stringify({ budget, chosen }))
      if (cost(chosen.way) === best) hit++
      assert.ok(others.some(({ way }) => way === chosen.way))
      assert.equal(others[0]!.bytes, Math.min(...every.map(memoryOf)), "the table begins with the least")
      assert.ok(others.some(({ way }) => Number(way.checkpointing) === 0 && way.attentionAgain === 0))
      const { checkpointing, attentionAgain = 0 } = chosen.way
      const n = Number(checkpointing)
      assert.ok(
        attention === ATTENTION ? n === 0 || attentionAgain === layers : attentionAgain === 0 || n === layers,
        JSON.stringify(chosen.way)
      )
    }
    assert.ok(hit > 25, `${hit} of 40 are the very best`)
  })
test("with room for all of it nothing changes", async () => {
  const { chosen } = await choose(1e12, streamable)
  assert.deepEqual(chosen.way, {
    ...{ checkpointing: 0, attentionAgain: 0, parts: 1, optimizer: "adamw", optimizerMemory: undefined }
  })
})
test("where nothing fits, the smallest budget that would is named, and does", async () => {
  const failed = await Effect.runPromise(Effect.flip(fitToMemory(fitting(100 * MB))))
  assert.ok(failed instanceof InvalidInput)
  const smallest = Number(/\((\d+) bytes\)/.exec(failed.message)?.[1])
  assert.match(failed.message, /all layers recomputed, micro-batches cut in 4, paged-adamw/)
  assert.equal((await choose(smallest)).chosen.bytes, smallest)
  await assert.rejects(choose(smallest - 1))
})
test("weights stream only where nothing fits in memory; what is left of the budget keeps some of them", async () => {
  const resident = Math.min(...every.map(memoryOf))
  assert.equal((await choose(resident, streamable)).chosen.way.weightsMemory, undefined)
  const { chosen, others } = await choose(resident - 1, streamable)
  assert.ok(chosen.bytes <= resident - 1 && (chosen.way.weightsMemory ?? 0) >= LEAST_STREAMED, JSON.stringify(chosen))
  assert.equal(chosen.way.optimizer.includes("8bit"), false, "streaming changes no bit, so it comes first")
  assert.ok(others.every(({ way }) => way.weightsMemory !== undefined))

  const failed = await Effect.runPromise(Effect.flip(fitToMemory(fitting(100 * MB, streamable))))
  const [least, inMemory] = [...failed.message.matchAll(/\((\d+) bytes\)/g)].map(([, n]) => Number(n))
  assert.ok(least! < inMemory!, failed.message)
  assert.match(failed.message, /weights streamed under/)
  assert.equal((await choose(least!, streamable)).chosen.bytes, least)
  await assert.rejects(choose(least! - 1, streamable))
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
  assert.ok(costOf(chosen.way) < Math.min(...fewest.map(costOf)) + (1e12 * REST) / layers)
})
