/**
 * A run is a stream of tagged events. Each step is enqueued whole; the fiber waits once a step, for the loss, while the next
 * step is already queued. A stop drops what is queued, saves what was last committed, and ends the stream.
 */
import { Context, Deferred, Effect, Queue as EventQueue, Layer, Schema, type Scope, Stream } from "effect"
import { CheckpointStore } from "./CheckpointStore.ts"
import { type MicroBatch, supervisedIn, tokensIn } from "./Document.ts"
import { decodeOptions, NonNegative, NonNegativeInt, PositiveInt, withDefault } from "./decodeOptions.ts"
import {
  type BadOptions,
  BadStack,
  type CheckpointError,
  DeviceError,
  LoadError,
  NotFinite,
  type OutOfMemory,
  UnusedParts
} from "./errors.ts"
import type { Loaded } from "./Model.ts"
import { makePart, partsOf } from "./Parts.ts"
import { planOf } from "./plan.ts"
import { Cancelled, DeviceFault, type Queue } from "./Queue.ts"
import { makeSession, type Recipe, type Session } from "./Session.ts"
import { learningRateAt } from "./schedule.ts"
import { Adapter, Backend, Collective, Dataset, Kernels, ModelLoader, Optimizer } from "./services.ts"
import { TrainEvent } from "./TrainEvent.ts"

const TrainerOptions = Schema.Struct({
  steps: PositiveInt,
  learningRate: withDefault(NonNegative, 2e-4),
  schedule: withDefault(Schema.Literals(["constant", "linear", "cosine"]), "constant"),
  /** Below 1: a share of the steps; else a number of steps. */
  warmup: withDefault(NonNegative, 0),
  /** Of the global norm; 0 does not clip. */
  maxGradNorm: withDefault(NonNegative, 1),
  seed: withDefault(NonNegativeInt, 0),
  /** Recompute layers in backward instead of keeping their activations. */
  checkpointing: withDefault(Schema.Boolean, false),
  /** The dtype of activations and of the multiply; left out: bf16 where the backend multiplies it. */
  compute: Schema.optionalKey(Schema.Literals(["f32", "bf16"])),
  /** Steps between evaluations; 0: only before the first and after the last. */
  evalEvery: withDefault(NonNegativeInt, 0),
  /** Steps between checkpoints; 0: only at the end. */
  saveEvery: withDefault(NonNegativeInt, 0),
  /** Go on from the checkpoint in the store, if there is one. */
  resume: withDefault(Schema.Boolean, false)
})
export type TrainerOptions = typeof TrainerOptions.Type
const decode = decodeOptions("Trainer", TrainerOptions)

export type TrainError = UnusedParts | BadStack | OutOfMemory | LoadError | DeviceError | NotFinite | CheckpointError
type Needs = Backend | Kernels | ModelLoader | Adapter | Optimizer | Dataset

export class Trainer extends Context.Service<
  Trainer,
  {
    readonly run: Stream.Stream<TrainEvent, TrainError>
    /** The plan alone: nothing is read, nothing is run. */
    readonly plan: Effect.Effect<Extract<TrainEvent, { readonly _tag: "Plan" }>, TrainError>
    /** Ends a run in progress: the step under way is dropped, the adapter as of the last update is saved. */
    readonly stop: Effect.Effect<void>
  }
>()("@graft/core/Trainer") {
  static readonly layer = (options: typeof TrainerOptions.Encoded): Layer.Layer<Trainer, BadOptions, Needs> =>
    Layer.effect(
      Trainer,
      Effect.gen(function* () {
        const decoded = yield* decode(options)
        const [backend, kernels, model] = [yield* Backend, yield* Kernels, yield* ModelLoader]
        const [adapter, optimizer, dataset] = [yield* Adapter, yield* Optimizer, yield* Dataset]
        const [collective, store] = [yield* Collective, yield* CheckpointStore]
        const optional = [collective, store].flatMap(({ part }) => (part === undefined ? [] : [{ part }]))
        const parts = yield* partsOf(
          yield* makePart("trainer", backend, kernels, model, adapter, optimizer, dataset, ...optional)
        )
        const stopped = yield* Deferred.make<void>()
        const compute = decoded.compute ?? (backend.multipliesBf16 ? "bf16" : "f32")
        const recipe: Recipe = {
          load: model.load,
          adapter: adapter.plan,
          optimizer: optimizer.make,
          overrides: kernels.overrides,
          allReduce: collective.allReduce,
          compute,
          ...decoded
        }
        const run: Run = {
          options: decoded,
          recipe,
          backend,
          dataset,
          store,
          stopped,
          fingerprint: JSON.stringify([
            model.description.name,
            dataset.fingerprint,
            { ...decoded, resume: false, steps: 0, evalEvery: 0, saveEvery: 0 }
          ])
        }

        const plan = Effect.gen(function* () {
          const { inUse, unused } = parts()
          if (unused.length > 0) return yield* new UnusedParts({ unused })
          const problem =
            adapter.plan.check(model.description, model.codec) ?? checkData(model.description, dataset, decoded.steps)
          if (problem !== undefined) return yield* new BadStack({ problem })
          const shapes = Array.from({ length: Math.min(decoded.steps, 2 * dataset.stepsPerEpoch) }, (_, i) =>
            dataset.batches(i + 1)
          ).flat()
          const made = yield* Effect.try({
            try: () => planOf(backend.limits, recipe, shapes, dataset.evaluation),
            catch: (e) => new LoadError({ problem: messageOf(e) })
          })
          return TrainEvent.Plan({
            parts: inUse,
            memory: made.memory,
            trainableParameters: made.trainableParameters,
            steps: decoded.steps,
            stepsPerEpoch: dataset.stepsPerEpoch,
            compute,
            opsPerStep: made.ops.length,
            overrides: [...kernels.overrides.values()].map(({ op, implementation }) => ({ op, implementation }))
          })
        })
        return {
          plan,
          stop: Effect.asVoid(Deferred.succeed(stopped, undefined)),
          run: Stream.callback<TrainEvent, TrainError>((events) => {
            const emit = (event: TrainEvent) => Effect.asVoid(EventQueue.offer(events, event))
            return Effect.scoped(
              Effect.gen(function* () {
                const planned = yield* plan
                yield* emit(planned)
                yield* train(run, planned.memory, emit)
                yield* EventQueue.end(events)
              })
            ).pipe(Effect.catch((e: TrainError) => EventQueue.fail(events, e)))
          })
        }
      })
    )
}

interface Run {
  readonly options: TrainerOptions
  readonly recipe: Recipe
  readonly backend: Backend["Service"]
  readonly dataset: Dataset["Service"]
  readonly store: CheckpointStore
  readonly stopped: Deferred.Deferred<void>
  readonly fingerprint: string
}
type Emit = (event: TrainEvent) => Effect.Effect<void>
type Planned = Extract<TrainEvent, { readonly _tag: "Plan" }>["memory"]

const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))
const deviceError = (e: unknown) =>
  new DeviceError({ op: e instanceof DeviceFault ? e.op : "queue", problem: messageOf(e) })

const checkData = (
  model: ModelLoader["Service"]["description"],
  { batches, evaluation, stepsPerEpoch }: Dataset["Service"],
  steps: number
): string | undefined => {
  const micro = [
    ...Array.from({ length: Math.min(steps, stepsPerEpoch) }, (_, i) => batches(i + 1)).flat(),
    ...evaluation
  ]
  for (const { sample, ids } of micro.flat()) {
    if (ids.length > model.maxPositions) {
      return `row ${sample} of the data has ${ids.length} tokens, but ${model.name} has ${model.maxPositions} positions; set a smaller max length`
    }
    for (let i = 0; i < ids.length; i++) {
      if (!(ids[i]! >= 0 && ids[i]! < model.vocabularySize)) {
        return `row ${sample} of the data: token ${ids[i]} at place ${i} is not in the vocabulary of ${model.name} (0 … ${model.vocabularySize - 1}); use this model's tokenizer`
      }
    }
  }
  return undefined
}

/** Drives a load, waiting for the device between tensors, so that at most one is on its way and the event loop lives. */
const loadSession = (queue: Queue, recipe: Recipe, emit: Emit) =>
  Effect.gen(function* () {
    const loading = makeSession(queue, recipe)
    let loadedBytes = 0
    for (;;) {
      const next = yield* Effect.try({
        try: () => loading.next(),
        catch: (e) => new LoadError({ problem: messageOf(e) })
      })
      if (next.done === true) return next.value
      const { path, bytes }: Loaded = next.value
      loadedBytes += bytes
      yield* Effect.tryPromise({
        try: () => queue.idle(),
        catch: (e) => new LoadError({ problem: `${path}: ${messageOf(e)}` })
      })
      yield* emit(TrainEvent.Load({ path, bytes, loadedBytes }))
    }
  })

const POLL = 200 // milliseconds between looks at the progress of a step

const train = (run: Run, planned: Planned, emit: Emit): Effect.Effect<void, TrainError, Scope.Scope> =>
  Effect.gen(function* () {
    const { options, recipe, backend, dataset, store, stopped, fingerprint } = run
    const queue = yield* backend.open(planned.arenaBytes)
    const session = yield* loadSession(queue, recipe, emit)
    yield* Effect.addFinalizer(() => Effect.sync(() => session[Symbol.dispose]()))

    let committed = 0
    if (options.resume) {
      committed = yield* store.restore(fingerprint, session.pieces)
      yield* Effect.tryPromise({ try: () => queue.idle(), catch: deviceError })
      if (committed > 0) yield* emit(TrainEvent.Resume({ step: committed }))
    }
    const warmupSteps = options.warmup < 1 ? Math.round(options.warmup * options.steps) : options.warmup
    const rateAt = (step: number) =>
      learningRateAt(
        { kind: options.schedule, learningRate: options.learningRate, warmupSteps, steps: options.steps },
        step
      )

    /** Enqueues a whole step; its scalars come when it has run. */
    const enqueue = (step: number) => {
      const micro = dataset.batches(step)
      const from = queue.progress.submitted
      let scalars: Promise<ReadonlyArray<Float32Array>> = Promise.resolve([])
      session.step(step, micro, rateAt(step), ({ loss, tokens, control }) => {
        scalars = Promise.all([loss, tokens, control].map((t) => queue.read(t)))
      })
      scalars.catch(() => {}) // whoever awaits it reports it
      return { step, micro, scalars, from, until: queue.progress.submitted }
    }
    const save = Effect.gen(function* () {
      const parameters = yield* Effect.tryPromise({ try: () => session.read(), catch: deviceError })
      const files = recipe.adapter.files(parameters, session.model.description)
      const path = yield* store.save({ step: committed, fingerprint, files, pieces: session.pieces })
      if (path !== undefined) yield* emit(TrainEvent.Checkpoint({ step: committed, path }))
    })
    const evaluate = (step: number) =>
      dataset.evaluation.length === 0
        ? Effect.void
        : Effect.flatMap(heldOutLoss(session, queue, dataset.evaluation, stopped), (found) =>
            found === undefined ? Effect.void : emit(TrainEvent.Eval({ step, ...found }))
          )
    const isDue = (step: number, every: number) => every > 0 && step % every === 0 && step < options.steps

    yield* evaluate(committed)
    let ahead: ReturnType<typeof enqueue> | undefined
    let at = performance.now()
    while (committed < options.steps && !(yield* Deferred.isDone(stopped))) {
      const now = ahead ?? enqueue(committed + 1)
      const pause = isDue(now.step, options.evalEvery) || isDue(now.step, options.saveEvery)
      ahead = now.step < options.steps && !pause ? enqueue(now.step + 1) : undefined // one step runs ahead
      const scalars = yield* whileStepping(queue, now, stopped, emit)
      if (scalars === undefined) break
      const [loss, tokens, control] = scalars as [Float32Array, Float32Array, Float32Array] // in the order of `enqueue`
      const meanLoss = loss[0]! / tokens[0]!
      if (control[1] === 0 || !Number.isFinite(meanLoss)) {
        queue.cancel()
        return yield* new NotFinite({
          step: now.step,
          loss: meanLoss,
          gradNorm: control[3]!,
          samples: now.micro.flat().map((d) => d.sample)
        })
      }
      committed = now.step
      const seconds = (performance.now() - at) / 1000
      at = performance.now()
      const through = now.micro.reduce((n, documents) => n + tokensIn(documents), 0)
      yield* emit(
        TrainEvent.Step({
          step: now.step,
          loss: meanLoss,
          gradNorm: control[3]!,
          learningRate: rateAt(now.step),
          tokens: through,
          tokensPerSecond: through / seconds
        })
      )
      if (isDue(now.step, options.evalEvery)) yield* evaluate(now.step)
      if (isDue(now.step, options.saveEvery)) yield* save
      if (pause) at = performance.now()
      yield* Effect.yieldNow // the step above was synchronous code
    }
    const interrupted = committed < options.steps
    if (interrupted) {
      queue.cancel()
      // The device alone knows whether the step under way had been committed.
      const control = yield* Effect.tryPromise({ try: () => session.pieces.at(-1)!.read(), catch: deviceError })
      const applied = new Float32Array(control.slice().buffer)[2]!
      committed = Math.max(committed, applied)
    } else yield* evaluate(committed)
    yield* save
    yield* emit(
      TrainEvent.Done({
        steps: committed,
        interrupted,
        peakBytes: queue.limits.fixedBytes + queue.allocator.peaks.reduce((a, b) => a + b, 0),
        plannedBytes: planned.peakBytes
      })
    )
  })

/** Waits for a step, telling how far it is; undefined when the run was stopped. */
const whileStepping = (
  queue: Queue,
  step: {
    readonly step: number
    readonly scalars: Promise<ReadonlyArray<Float32Array>>
    readonly from: number
    readonly until: number
  },
  stopped: Deferred.Deferred<void>,
  emit: Emit
) => {
  const wait = Effect.tryPromise({ try: () => step.scalars, catch: deviceError })
  const tell = Effect.gen(function* () {
    for (;;) {
      yield* Effect.sleep(POLL)
      const fraction = (queue.progress.completed - step.from) / Math.max(1, step.until - step.from)
      if (fraction < 1) yield* emit(TrainEvent.Progress({ step: step.step, fraction: Math.max(0, fraction) }))
    }
  })
  const onStop = Effect.as(Deferred.await(stopped), undefined)
  return Effect.raceFirst(Effect.raceFirst(wait, onStop), tell)
}

/** Mean loss over the supervised tokens of held-out rows; undefined when the run was stopped. */
const heldOutLoss = (
  session: Session,
  queue: Queue,
  batches: ReadonlyArray<MicroBatch>,
  stopped: Deferred.Deferred<void>
) =>
  Effect.gen(function* () {
    let sum = 0
    let tokens = 0
    for (const documents of batches) {
      let loss: Promise<Float32Array> = Promise.resolve(new Float32Array(1))
      session.evaluate(documents, (t) => {
        loss = queue.read(t)
      })
      loss.catch(() => {}) // reported by whoever awaits
      const value = yield* Effect.raceFirst(
        Effect.tryPromise({
          try: () => loss,
          catch: (e) =>
            e instanceof Cancelled ? new DeviceError({ op: "evaluation", problem: "cancelled" }) : deviceError(e)
        }),
        Effect.as(Deferred.await(stopped), undefined)
      )
      if (value === undefined) return undefined
      sum += value[0]!
      tokens += supervisedIn(documents)
    }
    return { loss: sum / Math.max(1, tokens), tokens }
  })
