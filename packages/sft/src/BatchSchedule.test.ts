import assert from "node:assert/strict"
import { describe, test } from "node:test"
import fc from "fast-check"
import { batchSchedule, unitsOfRows } from "./BatchSchedule.ts"
import { packRows } from "./packRows.ts"
import { permutation } from "./permutation.ts"
import { splitRows } from "./splitRows.ts"

const range = (n: number) => Int32Array.from({ length: n }, (_, i) => i)
const sorted = (values: Iterable<number>) => [...values].sort((a, b) => a - b)

describe("batches", () => {
  const options = fc.record({
    batchSize: fc.integer({ min: 1, max: 5 }),
    gradAccumulationSteps: fc.integer({ min: 1, max: 4 }),
    shuffle: fc.boolean(),
    seed: fc.nat()
  })
  test("each epoch has each row once, in full micro-batches but for the last", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), options, (rows, given) => {
        const schedule = batchSchedule(unitsOfRows(range(rows)), given)
        assert.equal(schedule.stepsPerEpoch, Math.ceil(rows / (given.batchSize * given.gradAccumulationSteps)))
        for (const epoch of [0, 1, 2]) {
          const steps = Array.from({ length: schedule.stepsPerEpoch }, (_, i) =>
            schedule.rowsOf(epoch * schedule.stepsPerEpoch + i + 1)
          )
          assert.deepEqual(sorted(steps.flat(2)), [...range(rows)])
          const micro = steps.flat()
          assert.ok(micro.slice(0, -1).every((some) => some.length === given.batchSize))
          assert.ok(steps.slice(0, -1).every((step) => step.length === given.gradAccumulationSteps))
          if (!given.shuffle) assert.deepEqual(micro.flat(), [...range(rows)])
        }
      })
    )
  })
  test("a step depends on nothing but its number", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        options,
        fc.array(fc.integer({ min: 1, max: 50 })),
        (rows, given, steps) => {
          const one = batchSchedule(unitsOfRows(range(rows)), given)
          for (const step of steps)
            assert.deepEqual(one.rowsOf(step), batchSchedule(unitsOfRows(range(rows)), given).rowsOf(step))
        }
      )
    )
  })
  test("a micro-batch split in smaller ones has the same rows in the same order", () => {
    const whole = batchSchedule(unitsOfRows(range(37)), {
      batchSize: 8,
      gradAccumulationSteps: 1,
      shuffle: true,
      seed: 5
    })
    const parts = batchSchedule(unitsOfRows(range(37)), {
      batchSize: 2,
      gradAccumulationSteps: 4,
      shuffle: true,
      seed: 5
    })
    for (let step = 1; step <= 15; step++) assert.deepEqual(parts.rowsOf(step).flat(), whole.rowsOf(step).flat())
  })
  test("epochs and seeds differ in order", () => {
    const orders = [
      [1, 0],
      [1, 1],
      [2, 0]
    ].map(([seed, epoch]) => permutation(50, seed!, "epoch", epoch).join())
    assert.equal(new Set([...orders, permutation(50, 1, "split").join()]).size, 4)
  })
  test("steps count from 1", () => {
    const schedule = batchSchedule(unitsOfRows(range(3)), {
      batchSize: 1,
      gradAccumulationSteps: 1,
      shuffle: false,
      seed: 0
    })
    for (const step of [0, -1, 1.5, Number.NaN]) assert.throws(() => schedule.rowsOf(step), RangeError)
  })
})

describe("grouped by length", () => {
  const lengths = Int32Array.from({ length: 1000 }, (_, row) => 1 + ((row * 7919) % 211))
  const given = { batchSize: 8, gradAccumulationSteps: 2, shuffle: true, seed: 3 }
  const spread = (groupByLength: boolean) => {
    const schedule = batchSchedule(unitsOfRows(range(1000)), { ...given, groupByLength }, (row) => lengths[row]!)
    const steps = Array.from({ length: schedule.stepsPerEpoch }, (_, i) => schedule.rowsOf(i + 1))
    assert.deepEqual(sorted(steps.flat(2)), [...range(1000)])
    assert.ok(steps.slice(0, -1).every((step) => step.length === 2 && step.every((some) => some.length === 8)))
    const widths = steps.flat().map((some) => {
      const tokens = some.map((row) => lengths[row]!)
      return Math.max(...tokens) - Math.min(...tokens)
    })
    return { steps, mean: widths.reduce((sum, width) => sum + width, 0) / widths.length }
  }
  test("a micro-batch has rows of like length, an epoch still each row once", () => {
    assert.ok(spread(false).mean > 100)
    assert.ok(spread(true).mean < 10, `${spread(true).mean} tokens between the shortest and the longest`)
  })
  test("long and short micro-batches stand in a drawn order, another for each epoch", () => {
    const { steps } = spread(true)
    const first = steps.flat().map(([row]) => lengths[row!]!)
    const rising = first.slice(1).filter((tokens, i) => tokens > first[i]!).length
    assert.ok(rising > 0.3 * first.length && rising < 0.7 * first.length, `${rising} of ${first.length}`)
    const schedule = batchSchedule(unitsOfRows(range(1000)), { ...given, groupByLength: true }, (row) => lengths[row]!)
    assert.notDeepEqual(schedule.rowsOf(1), schedule.rowsOf(1 + schedule.stepsPerEpoch))
  })
})

describe("sources with weights", () => {
  const counts = (rows: ReadonlyArray<number>) => {
    const found = new Map<number, number>()
    for (const row of rows) found.set(row, (found.get(row) ?? 0) + 1)
    return found
  }
  test("have each row ⌊w⌋ or ⌈w⌉ times an epoch, w times on the whole", () => {
    const source = fc.record({
      units: fc.integer({ min: 1, max: 20 }),
      weight: fc.double({ min: 0.01, max: 3, noNaN: true })
    })
    fc.assert(
      fc.property(
        fc.array(source, { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        fc.nat(),
        (sources, shuffle, seed) => {
          const total = sources.reduce((sum, { units }) => sum + units, 0)
          const options = { batchSize: 3, gradAccumulationSteps: 2, shuffle, seed }
          const schedule = batchSchedule({ ...unitsOfRows(range(total)), sources }, options)
          for (const epoch of [0, 1]) {
            const steps = Array.from({ length: schedule.stepsPerEpoch }, (_, i) =>
              schedule.rowsOf(epoch * schedule.stepsPerEpoch + i + 1)
            )
            const found = counts(steps.flat(2))
            let first = 0
            for (const { units, weight } of sources) {
              const times = Array.from({ length: units }, (_, i) => found.get(first + i) ?? 0)
              first += units
              assert.ok(times.every((n) => n === Math.floor(weight) || n === Math.floor(weight) + 1))
              const wanted = Math.floor(weight) * units + Math.round((weight % 1) * units)
              assert.equal(
                times.reduce((sum, n) => sum + n, 0),
                weight < 1 ? Math.max(1, wanted) : wanted
              )
            }
          }
        }
      )
    )
  })
  test("below one draw other rows each epoch", () => {
    const schedule = batchSchedule(
      { ...unitsOfRows(range(100)), sources: [{ units: 100, weight: 0.2 }] },
      { batchSize: 20, gradAccumulationSteps: 1, shuffle: false, seed: 1 }
    )
    assert.notDeepEqual(schedule.rowsOf(1), schedule.rowsOf(2))
  })
})

test("a permutation is drawn evenly: each of six orders of three about as often", () => {
  const counts = new Map<string, number>()
  for (let seed = 0; seed < 6000; seed++) {
    const order = permutation(3, seed, "epoch").join()
    counts.set(order, (counts.get(order) ?? 0) + 1)
  }
  assert.equal(counts.size, 6)
  for (const count of counts.values()) assert.ok(Math.abs(count - 1000) < 150, `${count} of 6000`) // five standard deviations
})

describe("the split", () => {
  test("parts the rows, holds out about the fraction, and keeps equal rows together", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 80 }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        fc.nat(),
        (values, fraction, seed) => {
          const firstEqual = Int32Array.from(values, (value) => values.indexOf(value))
          const { train, evaluation } = splitRows(firstEqual, fraction, seed)
          assert.deepEqual(sorted([...train, ...evaluation]), [...range(values.length)])
          assert.ok(train.length > 0)
          const held = new Set(Array.from(evaluation, (row) => values[row]))
          assert.ok(train.every((row) => !held.has(values[row])))
          const distinct = new Set(values).size
          const wanted = fraction === 0 ? 0 : Math.min(distinct - 1, Math.max(1, Math.round(fraction * distinct)))
          assert.equal(held.size, wanted)
          assert.deepEqual(splitRows(firstEqual, fraction, seed), { train, evaluation })
        }
      )
    )
  })
})

describe("packing", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 60 })
  test("puts each row into one pack, and no pack over capacity", () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 16 }), (tokens, capacity) => {
        const { rows, starts } = packRows(range(tokens.length), capacity, (row) => tokens[row]!)
        assert.deepEqual(sorted(rows), [...range(tokens.length)])
        for (let p = 0; p + 1 < starts.length; p++) {
          const pack = [...rows.subarray(starts[p], starts[p + 1])]
          const sum = pack.reduce((total, row) => total + tokens[row]!, 0)
          assert.ok(pack.length === 1 || sum <= capacity)
        }
      })
    )
  })
  test("is best fit decreasing, as the plain search has it", () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 20, max: 40 }), (tokens, capacity) => {
        const free: Array<number> = []
        for (const length of [...tokens].sort((a, b) => b - a)) {
          const fitting = free.filter((room) => room >= length)
          if (fitting.length === 0) free.push(capacity - length)
          else free[free.indexOf(Math.min(...fitting))]! -= length
        }
        const { starts, rows } = packRows(range(tokens.length), capacity, (row) => tokens[row]!)
        const left = Array.from(
          { length: starts.length - 1 },
          (_, p) => capacity - rows.subarray(starts[p], starts[p + 1]).reduce((sum, row) => sum + tokens[row]!, 0)
        )
        assert.deepEqual(sorted(left), sorted(free))
      })
    )
  })
})
