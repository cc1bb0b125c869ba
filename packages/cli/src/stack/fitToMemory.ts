/**
 * The fastest way to run a step in a given memory. What may change leaves the step as it is: how many layers recompute and
 * whether the optimiser's state pages change no bit; cutting micro-batches changes the order of a sum. State in 8 bits rounds
 * otherwise and is taken only where nothing else fits. Costs are counted in arithmetic, so that the same flags choose the same
 * on any machine; memory is what the plan says. Layers are alike, so the number that must recompute is close to a straight line.
 */
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { bytes } from "../show/quantities.ts"
import { optimizerNamed } from "./optimizerLayer.ts"

export interface Way {
  /** All layers, or so many from the first on. */
  readonly checkpointing: boolean | number
  /** A micro-batch is cut into so many. */
  readonly parts: number
  readonly optimizer: string
  readonly optimizerMemory: number | undefined
}
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
  /** Operations of a step, memory's traffic counted as such. */
  readonly costOf: (way: Way) => number
}
/** What a way takes, beside what it costs. */
export interface Fit {
  readonly way: Way
  readonly bytes: number
}
export interface Chosen {
  readonly chosen: Fit
  /** Ways from the least memory to no recomputation. */
  readonly others: ReadonlyArray<Fit>
}

/** Of the optimiser's state that pages: what stays in memory. */
const RESIDENT = 32 * 2 ** 20
/** A byte that pages out and in again takes as long as so many operations: 60 GFLOP/s beside 1 GB/s. */
const OPERATIONS_PER_BYTE = 60
const ROWS_OF_TABLE = 9

type Chain = Pick<Way, "parts" | "optimizer" | "optimizerMemory">

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
  /** The fewest layers that must recompute, if any number will do. */
  const within = Effect.fnUntraced(function* (chain: Chain) {
    const at = (checkpointing: number) => memoryOf({ ...chain, checkpointing })
    const [most, least] = [yield* at(0), yield* at(layers)]
    if (most <= budget) return { way: { ...chain, checkpointing: 0 }, bytes: most }
    if (least > budget) return undefined
    const guess = Math.ceil((layers * (most - budget)) / Math.max(1, most - least))
    let [below, n, probe] = [0, layers, guess] // at(below) is too much, at(n) fits
    for (let asked = 0; n - below > 1; asked++) {
      probe = Math.min(n - 1, Math.max(below + 1, probe))
      const fits = (yield* at(probe)) <= budget
      if (fits) n = probe
      else below = probe
      probe = asked === 0 ? probe + (fits ? -1 : 1) : (below + n) >> 1
    }
    return { way: { ...chain, checkpointing: n }, bytes: yield* at(n) }
  })
  const cuts = [...new Set([...powersOfTwo(rows), rows])]
  const fastest = Effect.fnUntraced(function* (optimizers: ReadonlyArray<Omit<Chain, "parts">>) {
    const chains = optimizers
      .flatMap((optimizer) => cuts.map((parts): Chain => ({ ...optimizer, parts })))
      .map((chain) => [costOf({ ...chain, checkpointing: 0 }), chain] as const)
      .sort(([a], [b]) => a - b)
    let best: (Fit & { readonly cost: number }) | undefined
    for (const [least, chain] of chains) {
      if (best !== undefined && least >= best.cost) break
      const fit = yield* within(chain)
      if (fit === undefined) continue
      const cost = costOf(fit.way)
      if (best === undefined || cost < best.cost) best = { ...fit, cost }
    }
    return best
  })
  const { same, fewerBits } = optimizersOf(fitting)
  const found = (yield* fastest(same)) ?? (yield* fastest(fewerBits))
  const leanest = Effect.fnUntraced(function* (optimizers: ReadonlyArray<Omit<Chain, "parts">>) {
    const fits: Array<Fit> = []
    for (const optimizer of optimizers) {
      const way: Way = { ...optimizer, parts: rows, checkpointing: layers }
      fits.push({ way, bytes: yield* memoryOf(way) })
    }
    return fits.sort((a, b) => a.bytes - b.bytes)[0]
  })
  if (found === undefined) {
    const smallest = yield* leanest([...same, ...fewerBits])
    const what = smallest === undefined ? "" : `, with ${wayText(smallest.way, layers)}`
    return yield* new InvalidInput({
      message: `--memory is ${bytes(budget)}, and the least that this run takes is ${bytes(smallest?.bytes ?? 0)} (${smallest?.bytes} bytes)${what}; give that much, or shorter rows, a lower --rank, weights in 4 bits (--quantize nf4), or weights that stream (--weights-memory)`
    })
  }
  const { way, bytes: taken } = found
  const others: Array<Fit> = []
  const first = yield* leanest(same)
  if (first !== undefined) others.push(first)
  for (let i = ROWS_OF_TABLE - 1; i >= 0; i--) {
    const one = { ...way, checkpointing: Math.round((layers * i) / (ROWS_OF_TABLE - 1)) }
    others.push({ way: one, bytes: yield* memoryOf(one) })
  }
  others.push({ way, bytes: taken })
  return { chosen: { way, bytes: taken }, others: inOrder(others) } satisfies Chosen
})

const inOrder = (fits: ReadonlyArray<Fit>): ReadonlyArray<Fit> =>
  [...new Map(fits.map((fit) => [JSON.stringify(fit.way), fit])).values()].sort((a, b) => a.bytes - b.bytes)

const powersOfTwo = (most: number): ReadonlyArray<number> => {
  const all: Array<number> = []
  for (let n = 1; n <= most; n *= 2) all.push(n)
  return all
}

export const wayText = ({ checkpointing, parts, optimizer, optimizerMemory }: Way, layers: number): string => {
  const n = checkpointing === true ? layers : Number(checkpointing)
  const recomputed =
    n === 0 ? "nothing recomputed" : n >= layers ? "all layers recomputed" : `${n} of ${layers} layers recomputed`
  const cut = parts === 1 ? "" : `, micro-batches cut in ${parts}`
  const memory = optimizerMemory === undefined ? "" : ` under ${bytes(optimizerMemory)}`
  return `${recomputed}${cut}, ${optimizer}${memory}`
}
