/**
 * The loop of a run. Each step is enqueued whole; the fiber waits once a step, for the loss, while the next step is already
 * queued. A stop drops what is queued, saves what was last committed, and ends.
 */
import {
  type AdapterPlan,
  type Backend,
  BadStack,
  CheckpointError,
  type CheckpointStore,
  type Dataset,
  DeviceError,
  type LoadError,
  type MemoryPlan,
  NotFinite,
  type OutOfMemory,
  type RunIdentity,
  type StatePiece,
  supervisedIn,
  TrainEvent,
  tokensIn,
  totalPeak
} from "@graft/core"
import { Deferred, Effect, Fiber, type Scope } from "effect"
import { collectGarbage } from "./collectGarbage.ts"
import { dataProblem, nothingLearnt } from "./dataProblem.ts"
import { loadSessions } from "./loadSessions.ts"
import { answerOf, type SamplingService } from "./Sampling.ts"
import type { Recipe } from "./Session.ts"
import {
  countEvaluation,
  decodeProgress,
  freshStanding,
  keptOf,
  type Progress,
  type Standing,
  within
} from "./Standing.ts"
import { learningRateAt } from "./schedule.ts"
import { stepTogether } from "./stepTogether.ts"
import type { TrainerOptions } from "./TrainerOptions.ts"

export interface Run {
  readonly options: TrainerOptions
  readonly recipe: Recipe
  /** The adapters of a sweep; none where the recipe's alone is trained. */
  readonly variants: ReadonlyArray<{
    readonly name: string
    readonly learningRate?: number
    readonly adapter: AdapterPlan
  }>
  readonly backend: Backend["Service"]
  readonly dataset: Dataset["Service"]
  readonly sampling: SamplingService
  readonly store: CheckpointStore
  readonly stopped: Deferred.Deferred<void>
  readonly identity: Effect.Effect<RunIdentity, LoadError>
  readonly memory: MemoryPlan
  readonly emit: (event: TrainEvent) => Effect.Effect<void>
}
type Failure = BadStack | OutOfMemory | LoadError | DeviceError | NotFinite | CheckpointError

const asBadStack = (cause: unknown): BadStack =>
  cause instanceof BadStack ? cause : new BadStack({ message: cause instanceof Error ? cause.message : String(cause) })

const POLL = 200 // milliseconds between looks at the progress of a step
/** Steps that are skipped one behind the other before a run is given up: it will not heal by itself. */
const MOST_SKIPPED = 10
const waitFor = <A>(promise: () => Promise<A>) => Effect.tryPromise({ try: promise, catch: DeviceError.from })

export const train = Effect.fnUntraced(function* (run: Run): Effect.fn.Return<void, Failure, Scope.Scope> {
  const { options, recipe, variants, dataset, sampling, store, stopped, memory, emit } = run
  const { steps, evalEvery, saveEvery } = options
  const queue = yield* run.backend.open(memory.arenaBytes)
  // Reading the weights for their hash and loading them share the disk's cache.
  const identifying = store.part === undefined ? undefined : yield* Effect.forkScoped(run.identity)
  const done = (committed: number, interrupted: boolean, early?: string) =>
    emit(
      TrainEvent.Done({
        steps: committed,
        interrupted,
        ...(early === undefined ? {} : { early }),
        peakBytes: totalPeak(queue),
        plannedBytes: memory.peakBytes
      })
    )
  const adapters = variants.length === 0 ? [recipe.adapter] : variants.map(({ adapter }) => adapter)
  const sessions = yield* loadSessions(queue, recipe, adapters, stopped, emit)
  if (sessions === undefined) return yield* done(0, true)
  yield* Effect.sync(collectGarbage)
  yield* Effect.addFinalizer(() => Effect.sync(() => sessions[0]?.[Symbol.dispose]()))
  const standings = sessions.map((session, i) => {
    const { name, learningRate = options.learningRate } = variants[i] ?? {}
    return freshStanding(session, learningRate, name === undefined ? {} : { variant: name })
  })
  const active = () => standings.filter(({ ended }) => ended === null)

  const orStopped = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | undefined, E> =>
    Effect.raceFirst(effect, Effect.as(Deferred.await(stopped), undefined))
  const isStopped = Deferred.isDone(stopped)
  const identity = identifying === undefined ? { model: "", data: "", recipe: "" } : yield* Fiber.join(identifying)
  const pieces = (): ReadonlyArray<StatePiece> =>
    standings.flatMap((standing) =>
      standing.session.pieces.map((piece) => ({ ...piece, name: within(standing, piece.name) }))
    )

  let committed = 0
  let resumed = false
  if (options.resume) {
    const { step, progress, warnings } = yield* store.restore(identity, pieces())
    yield* waitFor(() => queue.idle())
    yield* Effect.sync(collectGarbage)
    for (const message of warnings)
      yield* emit(
        TrainEvent.Warning({ step, message: `${message}; the checkpoint before it, of step ${step}, is used` })
      )
    if (step > 0) {
      const { standings: kept } = yield* Effect.mapError(
        decodeProgress(progress),
        (e) => new CheckpointError({ path: "state.json", message: `the checkpoint's progress: ${e.message}` })
      )
      for (const [i, standing] of standings.entries()) Object.assign(standing, kept[i])
      committed = step
      resumed = true
      yield* emit(TrainEvent.Resume({ step }))
    }
  }
  const warmupSteps = options.warmup < 1 ? Math.round(options.warmup * steps) : options.warmup
  const rateOf = ({ learningRate }: Standing, step: number) =>
    learningRateAt({ steps, kind: options.schedule, warmupSteps, learningRate }, step)
  const nameOf = dataset.nameOf ?? ((sample: number) => `row ${sample}`)
  const description = standings[0]!.session.model.description

  /** Enqueues a whole step of all adapters that go on; its scalars come when it has run. */
  const enqueue = (step: number) => {
    const micro = dataset.batches(step)
    const problem = dataProblem(description, micro) ?? nothingLearnt(step, micro, nameOf)
    if (problem !== undefined) throw new BadStack({ message: problem })
    const from = queue.progress.submitted
    const trained = active()
    const bySession = new Map(trained.map((standing) => [standing.session, standing]))
    const reads: Array<Promise<ReadonlyArray<Float32Array>>> = []
    stepTogether(
      queue,
      [...bySession.keys()],
      step,
      micro,
      (session) => rateOf(bySession.get(session)!, step),
      (_, { loss, tokens, control, guard }) => {
        reads.push(Promise.all([loss, tokens, control, guard].map((t) => queue.read(t))))
      }
    )
    const scalars = Promise.all(reads)
    scalars.catch(() => {}) // whoever awaits it reports it
    const traffic = trained.map(({ session }) => session.optimizer.traffic?.())
    for (const one of traffic) one?.catch(() => {}) // likewise
    const streaming = trained[0]?.session.model.traffic?.()
    streaming?.catch(() => {}) // likewise
    return { step, micro, trained, scalars, traffic, streaming, from, until: queue.progress.submitted }
  }
  type Enqueued = ReturnType<typeof enqueue>
  const begin = Effect.fnUntraced(function* (step: number) {
    if (options.record) {
      yield* waitFor(() => queue.idle())
      void queue.flight // what ran between the steps is of none
    }
    return yield* Effect.try({ try: () => enqueue(step), catch: asBadStack })
  })
  const telling = ({ step, from, until }: Enqueued): Effect.Effect<never> =>
    Effect.forever(
      Effect.andThen(
        Effect.sleep(POLL),
        Effect.suspend(() => {
          const fraction = Math.max(0, queue.progress.completed - from) / Math.max(1, until - from)
          return fraction < 1 ? emit(TrainEvent.Progress({ step, fraction })) : Effect.void
        })
      )
    )
  const filesOf = ({ session }: Standing) => session.adapter.files(session.saved, description)
  let saved: { readonly step: number; readonly path: string } | undefined
  const save = Effect.gen(function* () {
    const progress: Progress = {
      random: { generator: "philox4x32-10", seed: options.seed, step: committed + 1 },
      data: { epoch: Math.floor(committed / dataset.stepsPerEpoch), step: committed % dataset.stepsPerEpoch },
      learningRates: standings.map((standing) => rateOf(standing, committed + 1)),
      standings: standings.map(keptOf)
    }
    const files = standings.flatMap((standing) =>
      filesOf(standing).map((file) => ({ ...file, name: within(standing, file.name) }))
    )
    const path = yield* store.save({ step: committed, identity, progress, files, pieces: pieces() })
    if (path === undefined) return
    saved = { step: committed, path }
    yield* emit(TrainEvent.Checkpoint({ step: committed, path }))
  })
  const evaluateOne = Effect.fnUntraced(function* (standing: Standing, counts: boolean) {
    const { session, variant } = standing
    const reads: Array<Promise<readonly [Float32Array, Float32Array]>> = []
    for (const documents of dataset.evaluation)
      session.evaluate(documents, (loss, hits) => reads.push(Promise.all([queue.read(loss), queue.read(hits)])))
    const sums = yield* orStopped(waitFor(() => Promise.all(reads)))
    if (sums === undefined) return
    const tokens = Math.max(
      1,
      dataset.evaluation.reduce((n, documents) => n + supervisedIn(documents), 0)
    )
    const loss = sums.reduce((sum, [of]) => sum + of[0]!, 0) / tokens
    const accuracy = sums.reduce((sum, [, hits]) => sum + hits[0]!, 0) / tokens
    const step = committed
    yield* emit(TrainEvent.Eval({ ...variant, step, loss, perplexity: Math.exp(loss), accuracy, tokens }))
    if (!counts || standing.evaluated === step) return // counted before a stop
    if (!countEvaluation(standing, step, loss, options) || !options.keepBest) return
    const path = yield* store.keep(within(standing, "best"), filesOf(standing))
    if (path !== undefined) yield* emit(TrainEvent.Checkpoint({ ...variant, step, path, best: loss }))
  })
  const evaluate = (counts: boolean) =>
    dataset.evaluation.length === 0
      ? Effect.void
      : Effect.forEach(active(), (standing) => evaluateOne(standing, counts), { discard: true })
  const sampleFrom = Effect.gen(function* () {
    for (const { session, variant } of active()) {
      for (const { prompt, ids } of sampling.prompts) {
        if (yield* isStopped) return
        session.use()
        const { compute, overrides } = recipe
        using decoder = sampling.makeDecoder(queue, session.model, {
          compute,
          overrides,
          capacity: ids.length + sampling.maxNewTokens
        })
        const made = yield* waitFor(() => answerOf(sampling, decoder, ids))
        yield* emit(TrainEvent.Sample({ ...variant, step: committed, prompt, text: sampling.textOf(made) }))
      }
    }
  })
  const isDue = (step: number, every: number) => every > 0 && step % every === 0 && step < steps

  /** Takes in what the device says of one adapter's step; the failure to end with, if there is one. */
  const settle = Effect.fnUntraced(function* (
    { step, micro }: Enqueued,
    standing: Standing,
    [loss, supervised, control, guard]: ReadonlyArray<Float32Array>, // in the order of `enqueue`
    tokensPerSecond: number
  ) {
    const { variant } = standing
    const [meanLoss, gradNorm] = [loss![0]! / supervised![0]!, control![3]!]
    if (control![1] !== 0) {
      standing.streak = 0
      const tokens = micro.reduce((n, documents) => n + tokensIn(documents), 0)
      const learningRate = rateOf(standing, step)
      yield* emit(
        TrainEvent.Step({ ...variant, step, loss: meanLoss, gradNorm, learningRate, tokens, tokensPerSecond })
      )
      return undefined
    }
    const limit = guard![2]! > 0 && meanLoss > guard![2]! ? { limit: guard![2]! } : {}
    const rows = micro.flat().map(({ sample }) => nameOf(sample))
    const bad = { ...variant, step, loss: meanLoss, gradNorm, rows, ...limit }
    const problem = new NotFinite(bad)
    // A gradient that overflows is of this step alone; a loss that is no number tells of the adapter.
    const skips = options.badSteps === "skip" || (Number.isFinite(meanLoss) && !("limit" in limit))
    if (skips) {
      standing.skipped++
      standing.streak++
      if (standing.streak <= MOST_SKIPPED) {
        yield* emit(TrainEvent.Skipped(bad))
        return undefined
      }
    }
    standing.ended = { step: step - 1, why: problem.message }
    if (active().length > 0)
      yield* emit(TrainEvent.Warning({ ...variant, step, message: `it ends: ${problem.message}` }))
    return problem
  })

  /** The device alone knows whether the step under way had been committed. */
  const askDevice = Effect.gen(function* () {
    for (const { session, skipped } of active()) {
      const [, , applied] = yield* waitFor(() => session.control())
      committed = Math.max(committed, (applied ?? 0) + skipped)
    }
  })

  // Where a stop came between a step and its evaluation, this is that one.
  yield* evaluate(resumed && isDue(committed, evalEvery))
  yield* sampleFrom
  let ahead: Enqueued | undefined
  let failure: NotFinite | undefined
  let failed: Standing | undefined
  let since = performance.now()
  while (committed < steps && active().length > 0 && !(yield* isStopped)) {
    const now: Enqueued = ahead ?? (yield* begin(committed + 1))
    const { step } = now
    const pauses = [evalEvery, saveEvery, sampling.every].some((every) => isDue(step, every))
    ahead = step < steps && !pauses && !options.record ? yield* begin(step + 1) : undefined // one step runs ahead
    const scalars = yield* orStopped(
      Effect.raceFirst(
        waitFor(() => now.scalars),
        telling(now)
      )
    )
    if (scalars === undefined) break
    const seconds = (performance.now() - since) / 1000
    const tokens = now.micro.reduce((n, documents) => n + tokensIn(documents), 0)
    for (const [i, standing] of now.trained.entries()) {
      if (standing.ended !== null) continue // it ended while this step was queued
      const problem = yield* settle(now, standing, scalars[i]!, tokens / seconds)
      if (problem !== undefined) [failure, failed] = [problem, standing]
      const traffic = now.traffic[i]
      if (traffic === undefined) continue
      const moved = yield* orStopped(waitFor(() => traffic))
      if (moved !== undefined) yield* emit(TrainEvent.Paging({ ...standing.variant, step, ...moved }))
    }
    const { streaming } = now
    const streamed = streaming === undefined ? undefined : yield* orStopped(waitFor(() => streaming))
    if (streamed !== undefined) yield* emit(TrainEvent.Streaming({ step, ...streamed }))
    if (active().length === 0) {
      if (failed !== undefined && failed.streak > 0) committed = step // skipped, as those before it
      break
    }
    committed = step
    if (options.record) yield* emit(TrainEvent.Flight({ step, ops: queue.flight }))
    if (isDue(step, evalEvery)) yield* evaluate(true)
    if (isDue(step, sampling.every)) yield* sampleFrom
    if (isDue(step, saveEvery)) yield* save
    since = performance.now()
    yield* Effect.yieldNow // the step above was synchronous code
  }
  if (failure !== undefined && active().length === 0) {
    queue.cancel()
    if (failed !== undefined) failed.ended = null // with other options it may go on
    yield* askDevice
    if (committed > 0 && saved?.step !== committed) yield* save
    return yield* new NotFinite({ ...failure, ...(saved === undefined ? {} : { saved }) })
  }
  const early = active().length === 0 ? standings.at(-1)?.ended?.why : undefined
  const interrupted = committed < steps && early === undefined
  if (interrupted) {
    queue.cancel()
    yield* askDevice
  } else {
    if (early === undefined) yield* evaluate(true)
    yield* sampleFrom
  }
  yield* save
  yield* done(committed, interrupted, early)
})
