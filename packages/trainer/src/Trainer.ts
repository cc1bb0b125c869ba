/**
 * A run as a stream of tagged events. It plans on the meta queue, opens the device with exactly the planned memory, and runs
 * `train` (runTraining.ts); whoever reads the stream decides what becomes of the events.
 */
import {
  Adapter,
  Backend,
  type BadOptions,
  BadStack,
  CheckpointStore,
  Collective,
  Dataset,
  decodeOptions,
  Kernels,
  LoadError,
  ModelLoader,
  makePart,
  NonNegative,
  NonNegativeInt,
  Optimizer,
  PositiveInt,
  partsOf,
  type TrainError,
  TrainEvent,
  Trainer as TrainerService,
  UnusedParts,
  withDefault
} from "@graft/core"
import { Deferred, Effect, Queue as EventQueue, Layer, Schema, Stream } from "effect"
import { blankDocument, planOf } from "./plan.ts"
import { dataProblem, train } from "./runTraining.ts"
import type { Recipe } from "./Session.ts"

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

type Needs = Backend | Kernels | ModelLoader | Adapter | Optimizer | Dataset

/** Core's service, with the layer that trains by gradients. */
export class Trainer extends TrainerService {
  static readonly layer = (options: typeof TrainerOptions.Encoded): Layer.Layer<TrainerService, BadOptions, Needs> =>
    Layer.effect(TrainerService, Effect.flatMap(decode(options), makeTraining))
}

const makeTraining = Effect.fnUntraced(function* (options: TrainerOptions) {
  const [backend, kernels, model] = [yield* Backend, yield* Kernels, yield* ModelLoader]
  const [adapter, optimizer, dataset] = [yield* Adapter, yield* Optimizer, yield* Dataset]
  const [collective, store] = [yield* Collective, yield* CheckpointStore]
  const optional = [collective, store].flatMap(({ part }) => (part === undefined ? [] : [{ part }]))
  const used = [backend, kernels, model, adapter, optimizer, dataset, ...optional]
  const parts = yield* partsOf(yield* makePart("trainer", ...used))
  const stopped = yield* Deferred.make<void>()
  const compute = options.compute ?? (backend.multipliesBf16 ? "bf16" : "f32")
  const recipe: Recipe = {
    ...options,
    compute,
    load: model.load,
    adapter: adapter.plan,
    optimizer: optimizer.make,
    overrides: kernels.overrides,
    allReduce: collective.allReduce
  }
  const unchanging = { ...options, compute, resume: false, evalEvery: 0, saveEvery: 0 }
  const fingerprint = JSON.stringify([model.description.name, dataset.fingerprint, unchanging])

  const plan = Effect.gen(function* () {
    const { inUse, unused } = parts()
    if (unused.length > 0) return yield* new UnusedParts({ unused })
    const { steps } = options
    const { stepsPerEpoch, evaluation } = dataset
    const micro = dataset.shapes(steps).map((lengths) => lengths.map(blankDocument))
    const message = adapter.plan.check(model.description, model.codec) ?? dataProblem(model.description, evaluation)
    if (message !== undefined) return yield* new BadStack({ message })
    const { memory, trainableParameters, ops, memoryOverStep } = yield* Effect.try({
      try: () => planOf(backend.limits, recipe, micro, evaluation),
      catch: LoadError.from
    })
    const overrides = [...kernels.overrides.values()].map(({ op, implementation }) => ({ op, implementation }))
    return TrainEvent.Plan({
      parts: inUse,
      memory,
      memoryOverStep,
      trainableParameters,
      steps,
      stepsPerEpoch,
      compute,
      opsPerStep: ops.length,
      overrides
    })
  })
  const run = Stream.callback<TrainEvent, TrainError>((events) => {
    const emit = (event: TrainEvent) => Effect.asVoid(EventQueue.offer(events, event))
    const whole = Effect.gen(function* () {
      const planned = yield* plan
      yield* emit(planned)
      yield* train({ options, recipe, backend, dataset, store, stopped, fingerprint, memory: planned.memory, emit })
      yield* EventQueue.end(events)
    })
    return Effect.catch(Effect.scoped(whole), (e: TrainError) => EventQueue.fail(events, e))
  })
  return { plan, run, stop: Effect.asVoid(Deferred.succeed(stopped, undefined)) }
})
