/** What a run takes, to the byte: load, and one step of each distinct shape, with nothing executed. */
import {
  type AdapterPlan,
  type Category,
  type Command,
  type Limits,
  loadAtOnce,
  type MemoryPlan,
  type MicroBatch,
  RESIDENCY,
  type StatePiece,
  shapeOf,
  tokensIn
} from "@graft/core"
import { memoryOverStep, WatchedQueue } from "./memoryOverStep.ts"
import { BATCH, OPTIMISER } from "./origins.ts"
import type { SamplingService } from "./Sampling.ts"
import { makeSessions, type Recipe } from "./Session.ts"
import { stepTogether } from "./stepTogether.ts"

export interface RunPlan {
  readonly memory: MemoryPlan
  /** The ops of one step of the first shape, in order. */
  readonly ops: ReadonlyArray<string>
  /** Those up to the gradients with their parameters, shapes and dtypes: what a run computes. */
  readonly program: ReadonlyArray<string>
  /** Which implementation each op of that step has, in the order of first use. */
  readonly implementations: ReadonlyArray<{ readonly op: string; readonly implementation: string }>
  readonly trainableParameters: number
  /** Bytes of all pieces of a checkpoint, and of the optimiser's among them. */
  readonly stateBytes: number
  readonly optimizerBytes: number
  /** Bytes live in the course of that step. */
  readonly memoryOverStep: ReadonlyMap<Category, ReadonlyArray<number>>
}
/** A stand-in for documents of which only the lengths are known; every token is learnt, which is the most work. */
export const blankDocument = (tokens: number): MicroBatch[number] => ({
  sample: 0,
  ids: { length: tokens },
  targets: new Uint8Array(tokens)
})

class ProgramQueue extends WatchedQueue {
  readonly program: Array<string> = []
  readonly origins = new Set<string>()
  protected override submit(command: Command): void {
    super.submit(command)
    const { kernel, params, operands } = command
    if (!this.watching || this.origin === OPTIMISER || this.origin === RESIDENCY) return // their state may lie elsewhere: the rule is named apart
    this.origins.add(this.origin)
    this.program.push(
      `${kernel.name} ${JSON.stringify(params)} ${operands.map(({ tensor: { dtype, shape } }) => `${dtype}[${shape}]`).join(" ")}`
    )
  }
}

/** What else a run may do besides its steps. */
export interface AlsoPlanned {
  readonly evaluation?: ReadonlyArray<MicroBatch>
  /** Left out: the recipe's alone. */
  readonly adapters?: ReadonlyArray<AdapterPlan>
  readonly sampling?: Pick<SamplingService, "prompts" | "maxNewTokens" | "makeDecoder">
}
/**
 * Memory returns to its mark after each micro-batch and peak is not monotone in the batch (best fit), so the peak of a run
 * is the highest of its distinct shapes, each planned once.
 */
export const planOf = (
  limits: Limits,
  recipe: Recipe,
  training: ReadonlyArray<MicroBatch>,
  { evaluation = [], adapters = [recipe.adapter], sampling }: AlsoPlanned = {}
): RunPlan => {
  const queue = new ProgramQueue(limits)
  const sessions = loadAtOnce(makeSessions(queue, recipe, adapters))
  using _all = sessions[0]!
  let ops: ReadonlyArray<string> | undefined
  for (const documents of distinct(training)) {
    const from = queue.ops.length
    const step = (together: boolean) =>
      stepTogether(
        queue,
        sessions,
        1,
        [documents],
        () => 0,
        () => {},
        together
      )
    queue.watching = ops === undefined
    step(true)
    queue.watching = false
    ops ??= queue.ops.slice(from)
    if (sessions[0]?.stack?.takes(tokensIn(documents)) === true) step(false) // for when one of them has ended
  }
  for (const session of sessions) {
    for (const documents of distinct(evaluation)) session.evaluate(documents, () => {})
    const lengths = sampling?.prompts.map(({ ids }) => ids.length) ?? []
    for (const length of new Set(lengths)) {
      session.use()
      using decoder = sampling!.makeDecoder(queue, session.model, {
        compute: recipe.compute,
        overrides: recipe.overrides,
        capacity: length + sampling!.maxNewTokens
      })
      for (const tokens of sampling!.maxNewTokens > 1 ? [length, 1] : [length])
        decoder.feed(Array<number>(tokens).fill(0)).catch(() => {}) // the meta queue has no values
    }
  }
  const trainableParameters = sessions
    .flatMap(({ parameters }) => parameters.entries)
    .reduce((n, [, t]) => n + t.size, 0)
  const stateBytes = bytesOf(sessions.flatMap(({ pieces }) => pieces))
  const optimizerBytes = bytesOf(sessions.flatMap(({ optimizer }) => optimizer.pieces))
  const { plan: memory, program, moments, origins } = queue
  const implementations = implementationsIn(origins)
  const over = memoryOverStep(moments)
  return {
    ...{ memory, ops: ops ?? [], program, implementations, trainableParameters },
    ...{ stateBytes, optimizerBytes, memoryOverStep: over }
  }
}
/** The tape's own: what an op did is done once more. */
const AGAIN = "computed again"
/** Ops by what they call themselves while they enqueue: `rope (in place) backward`. */
const implementationsIn = (origins: ReadonlySet<string>): RunPlan["implementations"] => {
  const found = new Map<string, string>()
  for (const origin of origins) {
    if (origin === BATCH || origin === AGAIN) continue
    const [, op = origin, implementation = "core"] = /^(\S+)(?: \((.*)\))?(?: backward)?$/.exec(origin) ?? []
    if (!found.has(op)) found.set(op, implementation)
  }
  return [...found].map(([op, implementation]) => ({ op, implementation }))
}

const bytesOf = (pieces: ReadonlyArray<StatePiece>): number => pieces.reduce((sum, { bytes }) => sum + bytes, 0)
const distinct = (batches: ReadonlyArray<MicroBatch>): ReadonlyArray<MicroBatch> => [
  ...new Map(batches.map((documents) => [shapeOf(documents), documents])).values()
]
