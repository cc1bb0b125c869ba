/**
 * The fastest way to run a step in a given memory. What may change leaves the step as it is: what is computed again, whether
 * the optimiser's state pages and whether frozen weights stream change no bit; cutting micro-batches changes the order of a
 * sum. Weights stream only where nothing fits without that, and state in 8 bits, which rounds otherwise, is the last resort.
 * Costs are counted in arithmetic, so that the same flags choose the same on any machine; memory is what the plan says. Layers
 * are alike, so what must be computed again is close to a straight line on each side of a corner (recomputation.ts).
 */
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { bytes } from "../show/quantities.ts"
import { optimizerNamed } from "./optimizerLayer.ts"
import { type Recomputation, recomputation } from "./recomputation.ts"
import { type Way, wayText } from "./Way.ts"

export interface Fitting<E, R> {
  readonly budget: number
  readonly layers: number
  /** Of the largest micro-batch. */
  readonly rows: number
  /** The optimiser that was asked for. */
  readonly optimizer: string
  readonly optimizerMemory: number | undefined
  /** Bytes of a run's peak. */
  readonly memoryOf: (way: Way) => Effect.Effect<number, E, R>
  /** Of the optimiser's state, where it does not page. */
  readonly stateBytes: number
  /** Operations of a step, traffic counted as such. */
  readonly costOf: (way: Way) => number
  /** The least memory that frozen weights may stream under; undefined where they can't or do already. */
  readonly leastWeightsMemory: Effect.Effect<number | undefined, E, R>
}
export interface Fit {
  readonly way: Way
  readonly bytes: number
  readonly cost: number
}
export interface Chosen {
  readonly chosen: Fit
  /** Ways from the least memory to no recomputation. */
  readonly others: ReadonlyArray<Fit>
}

/** Of the optimiser's state that pages: what stays in memory. */
const RESIDENT = 32 * 2 ** 20
/** A byte that is read or written takes as long as so many operations: 60 GFLOP/s beside 1 GB/s. */
export const OPERATIONS_PER_BYTE = 60
const ROWS_OF_TABLE = 9

type Chain = Omit<Way, "checkpointing" | "attentionAgain">
type Updating = Pick<Way, "optimizer" | "optimizerMemory">

/** The optimisers that do the same in less memory, then those that keep 8 bits. */
const optimizersOf = <E, R>({ optimizer, optimizerMemory, stateBytes }: Fitting<E, R>) => {
  const given = { optimizer, optimizerMemory }
  const named = optimizerNamed(optimizer)
  if (named === undefined) return { same: [given], fewerBits: [] }
  const { family, bits } = named
  const paged = named.paged || optimizerMemory !== undefined
  const pages = !paged && stateBytes > 2 * RESIDENT
  const inPages = (name: string) => ({ optimizer: `paged-${name}`, optimizerMemory: RESIDENT })
  const small = `${family}-8bit`
  return {
    same: [given, ...(pages ? [inPages(`${family}-${bits}bit`)] : [])],
    fewerBits:
      bits === 8
        ? []
        : [
            paged ? { optimizer: `paged-${small}`, optimizerMemory } : { optimizer: small, optimizerMemory },
            ...(pages && stateBytes > 8 * RESIDENT ? [inPages(small)] : [])
          ]
  }
}

const bitsOf = (optimizer: string): number => optimizerNamed(optimizer)?.bits ?? 32

/** `stateBytes` are those of the optimiser `asked`; another of the family has the same states in other bits. */
export const pagingCost = (
  stateBytes: number,
  asked: string,
  { optimizer, optimizerMemory }: Pick<Chain, "optimizer" | "optimizerMemory">
): number =>
  optimizerMemory === undefined
    ? 0
    : 2 * OPERATIONS_PER_BYTE * Math.max(0, (stateBytes * bitsOf(optimizer)) / bitsOf(asked) - optimizerMemory)

export const fitToMemory = Effect.fnUntraced(function* <E, R>(fitting: Fitting<E, R>) {
  const { budget, layers, rows, costOf } = fitting
  const known = new Map<string, number>()
  const memoryOf = Effect.fnUntraced(function* (way: Way) {
    const key = JSON.stringify(way)
    const found = known.get(key) ?? (yield* fitting.memoryOf(way))
    known.set(key, found)
    return found
  })
  const fitOf = (way: Way) => Effect.map(memoryOf(way), (size): Fit => ({ way, bytes: size, cost: costOf(way) }))
  const corners = Effect.fnUntraced(function* (chain: Chain) {
    const wayAt = (order: Recomputation, place: number): Way => ({ ...chain, ...order.at(place) })
    const [attention, whole] = [recomputation(layers, true), recomputation(layers, false)]
    const [none, attended, all] = [0, layers, 2 * layers].map((place) => wayAt(attention, place))
    const [most, middle, least] = [yield* memoryOf(none!), yield* memoryOf(attended!), yield* memoryOf(all!)]
    const attentionFirst =
      (costOf(attended!) - costOf(none!)) * (middle - least) < (costOf(all!) - costOf(attended!)) * (most - middle)
    const order = attentionFirst ? attention : whole
    const atPlace = (place: number) => wayAt(order, place)
    const corner = attentionFirst ? middle : yield* memoryOf(atPlace(layers))
    return { atPlace, sizes: [most, corner, least] as const }
  })
  /** The place of a budget between two corners, were memory a straight line. */
  const interpolated = ([most, corner, least]: readonly [number, number, number], wanted: number): number => {
    const between = (high: number, low: number) => Math.ceil((layers * (high - wanted)) / Math.max(1, high - low))
    return wanted >= corner ? between(most, corner) : layers + between(corner, least)
  }
  /** The least that must be computed again, if any choice will do. */
  const within = Effect.fnUntraced(function* (chain: Chain) {
    const { atPlace, sizes } = yield* corners(chain)
    const [most, corner, least] = sizes
    const at = (place: number) => memoryOf(atPlace(place))
    if (most <= budget) return yield* fitOf(atPlace(0))
    if (least > budget) return undefined
    let [below, n, probe] = [corner <= budget ? 0 : layers, corner <= budget ? layers : 2 * layers, 0] // at(below) is too much, at(n) fits
    probe = interpolated(sizes, budget)
    for (let asked = 0; n - below > 1; asked++) {
      probe = Math.min(n - 1, Math.max(below + 1, probe))
      const fits = (yield* at(probe)) <= budget
      if (fits) n = probe
      else below = probe
      probe = asked === 0 ? probe + (fits ? -1 : 1) : (below + n) >> 1
    }
    return yield* fitOf(atPlace(n))
  })
  const cuts = [...new Set([...powersOfTwo(rows), rows])]
  const fastest = Effect.fnUntraced(function* (updating: ReadonlyArray<Updating>, weightsMemory?: number) {
    const chains = updating
      .flatMap((one) => cuts.map((parts): Chain => ({ ...one, parts, ...streamed(weightsMemory) })))
      .map((chain) => [costOf({ ...chain, checkpointing: 0 }), chain] as const)
      .sort(([a], [b]) => a - b)
    let best: Fit | undefined
    for (const [least, chain] of chains) {
      if (best !== undefined && least >= best.cost) break
      const fit = yield* within(chain)
      if (fit !== undefined && (best === undefined || fit.cost < best.cost)) best = fit
    }
    return best
  })
  /** What is left of the budget keeps layers of the weights. */
  const widened = Effect.fnUntraced(function* (fit: Fit | undefined) {
    if (fit?.way.weightsMemory === undefined) return fit
    const wide = yield* fitOf({ ...fit.way, weightsMemory: fit.way.weightsMemory + budget - fit.bytes })
    return wide.bytes <= budget ? wide : fit
  })
  const { same, fewerBits } = optimizersOf(fitting)
  const leastWeights = yield* fitting.leastWeightsMemory
  const streaming = (updating: ReadonlyArray<Updating>) =>
    leastWeights === undefined
      ? Effect.succeed(undefined)
      : Effect.flatMap(fastest(updating, leastWeights), (fit) => widened(fit))
  const found =
    (yield* fastest(same)) ?? (yield* streaming(same)) ?? (yield* fastest(fewerBits)) ?? (yield* streaming(fewerBits))
  const leanest = Effect.fnUntraced(function* (updating: ReadonlyArray<Updating>, weightsMemory?: number) {
    const fits: Array<Fit> = []
    for (const one of updating) {
      const chain: Chain = { ...one, parts: rows, ...streamed(weightsMemory) }
      fits.push(yield* fitOf({ ...chain, checkpointing: layers, attentionAgain: layers }))
    }
    return fits.sort((a, b) => a.bytes - b.bytes)[0]
  })
  if (found === undefined) {
    const text = (fit: Fit | undefined) =>
      fit === undefined ? "" : `${bytes(fit.bytes)} (${fit.bytes} bytes), with ${wayText(fit.way, layers)}`
    const resident = yield* leanest([...same, ...fewerBits])
    const least = leastWeights === undefined ? undefined : yield* leanest([...same, ...fewerBits], leastWeights)
    const where = least === undefined ? "" : `; with the weights in memory ${text(resident)}`
    return yield* new InvalidInput({
      message: `--memory is ${bytes(budget)}, and the least that this run takes is ${text(least ?? resident)}${where}; give that much, or shorter rows, a lower --rank, weights in 4 bits (--quantize nf4)${least === undefined ? ", or weights that stream (graft quantize, then --memory or --weights-memory)" : ""}`
    })
  }
  const { checkpointing: _layers, attentionAgain: _attention, ...chain } = found.way
  const { atPlace, sizes } = yield* corners(chain)
  const others: Array<Fit> = []
  const first = yield* leanest(same, found.way.weightsMemory)
  if (first !== undefined) others.push(first)
  for (let i = 0; i < ROWS_OF_TABLE; i++) {
    const wanted = sizes[2] + ((sizes[0] - sizes[2]) * i) / (ROWS_OF_TABLE - 1)
    others.push(yield* fitOf(atPlace(interpolated(sizes, wanted))))
  }
  others.push(found)
  return { chosen: found, others: inOrder(others) } satisfies Chosen
})

const streamed = (weightsMemory: number | undefined) => (weightsMemory === undefined ? {} : { weightsMemory })

const inOrder = (fits: ReadonlyArray<Fit>): ReadonlyArray<Fit> =>
  [...new Map(fits.map((fit) => [JSON.stringify(fit.way), fit])).values()].sort((a, b) => a.bytes - b.bytes)

const powersOfTwo = (most: number): ReadonlyArray<number> => {
  const all: Array<number> = []
  for (let n = 1; n <= most; n *= 2) all.push(n)
  return all
}
