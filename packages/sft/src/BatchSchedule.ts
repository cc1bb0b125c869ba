/**
 * Which rows each optimiser step sees: a function of (seed, step), so that resuming needs the number of the step and nothing
 * else.
 *
 * A source of weight w gives each of its units w times an epoch: all of them ⌊w⌋ times, and a part drawn for the epoch once more.
 *
 * A unit is what a batch counts: a row, or with packing several rows that together fill a sequence. An epoch goes through all units
 * once, in an order drawn for it. A step takes batchSize · gradAccumulationSteps of them as micro-batches of batchSize; no step reaches
 * over the end of an epoch, so the last of an epoch takes what is left, in as many micro-batches as that needs (the loss is
 * divided by the supervised tokens of the step, so a short step is no special case).
 *
 * Grouping by length sorts each window of 50 steps of that order and then draws the order of the window's micro-batches, so that
 * any step still has units of all lengths over time (transformers' LengthGroupedSampler, with whole micro-batches moved).
 */
import { permutation } from "./permutation.ts"
import { range } from "./range.ts"

export interface ScheduleOptions {
  readonly batchSize: number
  readonly gradAccumulationSteps: number
  readonly shuffle: boolean
  /** Units of like length in one micro-batch. */
  readonly groupByLength?: boolean | undefined
  readonly seed: number
}

/** Units as one flat list of rows: unit u is rows[starts[u]] … rows[starts[u + 1] - 1]. */
export interface Units {
  readonly rows: Int32Array
  readonly starts: Int32Array
  /** The units of each source in order, and how often an epoch has them; absent: all once. */
  readonly sources?: ReadonlyArray<{ readonly units: number; readonly weight: number }>
}
export const unitsOfRows = (rows: Int32Array): Units => ({
  rows,
  starts: range(0, rows.length + 1)
})

export interface BatchSchedule {
  readonly stepsPerEpoch: number
  /** The rows of each micro-batch of step `step`, counted from 1. */
  readonly rowsOf: (step: number) => ReadonlyArray<ReadonlyArray<number>>
}

/** Steps whose units are sorted together. */
const WINDOW = 50

/** `tokensOf` gives a row's length; only grouping asks for it. */
export const batchSchedule = (
  units: Units,
  options: ScheduleOptions,
  tokensOf: (row: number) => number = () => 0
): BatchSchedule => {
  const { batchSize, gradAccumulationSteps, shuffle, seed } = options
  const count = epochUnits(units, seed, 0).length
  const perStep = batchSize * gradAccumulationSteps
  const stepsPerEpoch = Math.ceil(count / perStep)
  let order: { readonly epoch: number; readonly units: Int32Array } = { epoch: -1, units: new Int32Array(0) }

  const orderOf = (epoch: number): Int32Array => {
    if (order.epoch !== epoch) {
      const inOrder = epochUnits(units, seed, epoch)
      const drawn = shuffle ? permutation(count, seed, "epoch", epoch).map((at) => inOrder[at]!) : inOrder
      order = { epoch, units: options.groupByLength === true ? grouped(drawn, epoch) : drawn }
    }
    return order.units
  }
  const lengthOf = (unit: number): number => {
    let tokens = 0
    for (let at = units.starts[unit]!; at < units.starts[unit + 1]!; at++) tokens += tokensOf(units.rows[at]!)
    return tokens
  }
  const grouped = (drawn: Int32Array, epoch: number): Int32Array => {
    const all = new Int32Array(drawn.length)
    for (let from = 0; from < drawn.length; from += WINDOW * perStep) {
      const window = drawn.subarray(from, from + WINDOW * perStep)
      const lengths = window.map(lengthOf)
      const byLength = Int32Array.from(window.keys()).sort((a, b) => lengths[b]! - lengths[a]! || a - b)
      // The micro-batch that is not full stays at the end of the epoch.
      const whole = Math.floor(window.length / batchSize)
      const windows = Math.ceil(drawn.length / (WINDOW * perStep))
      const places = permutation(whole, seed, "groups", epoch * windows + from / (WINDOW * perStep))
      byLength.forEach((at, i) => {
        const batch = Math.floor(i / batchSize)
        all[from + (batch < whole ? places[batch]! * batchSize : batch * batchSize) + (i % batchSize)] = window[at]!
      })
    }
    return all
  }
  return {
    stepsPerEpoch,
    rowsOf: (step) => {
      if (!(Number.isSafeInteger(step) && step >= 1))
        throw new RangeError(`batchSchedule: step is ${step}; steps count from 1`)
      const epoch = Math.floor((step - 1) / stepsPerEpoch)
      const first = ((step - 1) % stepsPerEpoch) * perStep
      const last = Math.min(first + perStep, count)
      const micro: Array<ReadonlyArray<number>> = []
      for (let from = first; from < last; from += batchSize) {
        const rows: Array<number> = []
        for (let i = from; i < Math.min(from + batchSize, last); i++) {
          const unit = orderOf(epoch)[i]!
          for (let at = units.starts[unit]!; at < units.starts[unit + 1]!; at++) rows.push(units.rows[at]!)
        }
        micro.push(rows)
      }
      return micro
    }
  }
}

/** The units of an epoch in the data's order. Their number is the same in each epoch. */
const epochUnits = ({ starts, sources }: Units, seed: number, epoch: number): Int32Array => {
  const all = range(0, starts.length - 1)
  if (sources === undefined) return all
  const parts: Array<Int32Array> = []
  let first = 0
  for (const [i, { units, weight }] of sources.entries()) {
    const own = all.subarray(first, first + units)
    first += units
    const whole = Math.floor(weight)
    for (let pass = 0; pass < whole; pass++) parts.push(own)
    const rest = Math.max(whole === 0 ? Math.min(1, units) : 0, Math.round((weight - whole) * units))
    const drawn = permutation(units, seed, "mixture", epoch * sources.length + i).subarray(0, rest)
    parts.push(drawn.sort().map((at) => own[at]!))
  }
  const joined = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}
