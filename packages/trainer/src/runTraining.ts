/**
 * The loop of a run. Each step is enqueued whole; the fiber waits once a step, for the loss, while the next step is already
 * queued. A stop drops what is queued, saves what was last committed, and ends.
 */
import {
  type Backend,
  BadStack,
  type CheckpointError,
  type CheckpointStore,
  type Dataset,
  DeviceError,
  LoadError,
  type MemoryPlan,
  type MicroBatch,
  type ModelDescription,
  NotFinite,
  type OutOfMemory,
  type Queue,
  supervisedIn,
  TrainEvent,
  tokensIn,
  totalPeak
} from "@graft/core"
import { Deferred, Effect, type Scope } from "effect"
import { makeSession, type Recipe } from "./Session.ts"
import { learningRateAt } from "./schedule.ts"
import type { TrainerOptions } from "./Trainer.ts"

export interface Run {
  readonly options: TrainerOptions
  readonly recipe: Recipe
  readonly backend: Backend["Service"]
  readonly dataset: Dataset["Service"]
  readonly store: CheckpointStore
  readonly stopped: Deferred.Deferred<void>
  readonly fingerprint: string
  readonly memory: MemoryPlan
  readonly emit: (event: TrainEvent) => Effect.Effect<void>
}

/** What in the data this model cannot take. */
export const dataProblem = (model: ModelDescription, batches: ReadonlyArray<MicroBatch>): string | undefined => {
  const { name, maxPositions, vocabularySize } = model
  for (const { sample, ids } of batches.flat()) {
    if (ids.length > maxPositions) {
      return `row ${sample} of the data has ${ids.length} tokens, but ${name} has ${maxPositions} positions; set a smaller max length`
    }
    for (let i = 0; i < ids.length; i++) {
      if (!(ids[i]! >= 0 && ids[i]! < vocabularySize)) {
        return `row ${sample} of the data: token ${ids[i]} at place ${i} is not in the vocabulary of ${name} (0 … ${vocabularySize - 1}); use this model's tokenizer`
      }
    }
  }
  return undefined
}

/** Drives a load, waiting for the device between tensors, so that at most one is on its way and the event loop lives. */
const loadSession = Effect.fnUntraced(function* (queue: Queue, recipe: Recipe, emit: Run["emit"]) {
  const loading = makeSession(queue, recipe)
  let loadedBytes = 0
  for (;;) {
    const next = yield* Effect.try({ try: () => loading.next(), catch: LoadError.from })
    if (next.done === true) return next.value
    loadedBytes += next.value.bytes
    yield* Effect.tryPromise({ try: () => queue.idle(), catch: LoadError.from })
    yield* emit(TrainEvent.Load({ ...next.value, loadedBytes }))
  }
})

const asBadStack = (cause: unknown): BadStack =>
  cause instanceof BadStack ? cause : new BadStack({ message: cause instanceof Error ? cause.message : String(cause) })

/** Steps in a row whose gradient was not finite before the run is given up: it will not heal by itself. */
const MOST_SKIPPED = 10
const POLL = 200 // milliseconds between looks at the progress of a step
const waitFor = <A>(promise: () => Promise<A>) => Effect.tryPromise({ try: promise, catch: DeviceError.from })

export const train = Effect.fnUntraced(function* (
  run: Run
): Effect.fn.Return<void, BadStack | OutOfMemory | LoadError | DeviceError | NotFinite | CheckpointError, Scope.Scope> {
  const { options, recipe, dataset, store, stopped, fingerprint, memory, emit } = run
  const { steps, evalEvery, saveEvery } = options
  const queue = yield* run.backend.open(memory.arenaBytes)
  const session = yield* loadSession(queue, recipe, emit)
  yield* Effect.addFinalizer(() => Effect.sync(() => session[Symbol.dispose]()))
  const orStopped = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | undefined, E> =>
    Effect.raceFirst(effect, Effect.as(Deferred.await(stopped), undefined))

  let committed = 0
  if (options.resume) {
    committed = yield* store.restore(fingerprint, session.pieces)
    yield* waitFor(() => queue.idle())
    if (committed > 0) yield* emit(TrainEvent.Resume({ step: committed }))
  }
  const warmupSteps = options.warmup < 1 ? Math.round(options.warmup * steps) : options.warmup
  const rateAt = (step: number) => learningRateAt({ ...options, kind: options.schedule, warmupSteps }, step)

  const nameOf = dataset.nameOf ?? ((sample: number) => `row ${sample}`)
  const rowsOf = (micro: ReadonlyArray<MicroBatch>) => micro.flat().map(({ sample }) => nameOf(sample))

  /** Enqueues a whole step; its scalars come when it has run. */
  const enqueue = (step: number) => {
    const micro = dataset.batches(step)
    const problem = dataProblem(session.model.description, micro)
    if (problem !== undefined) throw new BadStack({ message: problem })
    const from = queue.progress.submitted
    let scalars: Promise<ReadonlyArray<Float32Array>> = Promise.resolve([])
    session.step(step, micro, rateAt(step), ({ loss, tokens, control }) => {
      scalars = Promise.all([loss, tokens, control].map((t) => queue.read(t)))
    })
    scalars.catch(() => {}) // whoever awaits it reports it
    const traffic = session.optimizer.traffic?.()
    traffic?.catch(() => {}) // likewise
    return { step, micro, scalars, traffic, from, until: queue.progress.submitted }
  }
  const begin = (step: number) => Effect.try({ try: () => enqueue(step), catch: asBadStack })
  const telling = ({ step, from, until }: ReturnType<typeof enqueue>): Effect.Effect<never> =>
    Effect.forever(
      Effect.andThen(
        Effect.sleep(POLL),
        Effect.suspend(() => {
          const fraction = Math.max(0, queue.progress.completed - from) / Math.max(1, until - from)
          return fraction < 1 ? emit(TrainEvent.Progress({ step, fraction })) : Effect.void
        })
      )
    )
  const save = Effect.gen(function* () {
    const parameters = yield* waitFor(() => session.read())
    const files = recipe.adapter.files(parameters, session.model.description)
    const path = yield* store.save({ step: committed, fingerprint, files, pieces: session.pieces })
    if (path !== undefined) yield* emit(TrainEvent.Checkpoint({ step: committed, path }))
  })
  const evaluate = Effect.gen(function* () {
    if (dataset.evaluation.length === 0) return
    const reads: Array<Promise<Float32Array>> = []
    for (const documents of dataset.evaluation) session.evaluate(documents, (loss) => reads.push(queue.read(loss)))
    const losses = yield* orStopped(waitFor(() => Promise.all(reads)))
    if (losses === undefined) return
    const tokens = dataset.evaluation.reduce((n, documents) => n + supervisedIn(documents), 0)
    yield* emit(
      TrainEvent.Eval({
        step: committed,
        loss: losses.reduce((sum, [loss]) => sum + loss!, 0) / Math.max(1, tokens),
        tokens
      })
    )
  })
  const isDue = (step: number, every: number) => every > 0 && step % every === 0 && step < steps

  yield* evaluate
  let ahead: ReturnType<typeof enqueue> | undefined
  let skipped = 0
  let since = performance.now()
  while (committed < steps && !(yield* Deferred.isDone(stopped))) {
    const now = ahead ?? (yield* begin(committed + 1))
    const { step, micro } = now
    const pause = isDue(step, evalEvery) || isDue(step, saveEvery)
    ahead = step < steps && !pause ? yield* begin(step + 1) : undefined // one step runs ahead
    const scalars = yield* orStopped(
      Effect.raceFirst(
        waitFor(() => now.scalars),
        telling(now)
      )
    )
    if (scalars === undefined) break
    const [loss, supervised, control] = scalars as [Float32Array, Float32Array, Float32Array] // in the order of `enqueue`
    const meanLoss = loss[0]! / supervised[0]!
    const gradNorm = control[3]!
    skipped = control[1] === 0 ? skipped + 1 : 0
    if (!Number.isFinite(meanLoss) || skipped > MOST_SKIPPED) {
      queue.cancel()
      return yield* new NotFinite({ step, loss: meanLoss, gradNorm, rows: rowsOf(micro) })
    }
    committed = step
    const tokens = micro.reduce((n, documents) => n + tokensIn(documents), 0)
    const tokensPerSecond = (1000 * tokens) / (performance.now() - since)
    yield* emit(
      skipped > 0
        ? TrainEvent.Skipped({ step, loss: meanLoss, gradNorm, rows: rowsOf(micro) })
        : TrainEvent.Step({ step, loss: meanLoss, gradNorm, learningRate: rateAt(step), tokens, tokensPerSecond })
    )
    const { traffic } = now
    if (traffic !== undefined) {
      const moved = yield* orStopped(waitFor(() => traffic))
      if (moved === undefined) break
      yield* emit(TrainEvent.Paging({ step, ...moved }))
    }
    if (isDue(step, evalEvery)) yield* evaluate
    if (isDue(step, saveEvery)) yield* save
    since = performance.now()
    yield* Effect.yieldNow // the step above was synchronous code
  }
  const interrupted = committed < steps
  if (interrupted) {
    queue.cancel()
    // The device alone knows whether the step under way had been committed.
    const [, , applied] = yield* waitFor(() => session.control())
    committed = Math.max(committed, applied ?? 0)
  } else yield* evaluate
  yield* save
  yield* emit(
    TrainEvent.Done({ steps: committed, interrupted, peakBytes: totalPeak(queue), plannedBytes: memory.peakBytes })
  )
})
