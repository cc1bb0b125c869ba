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
  Kernels,
  LoadError,
  ModelLoader,
  makePart,
  Optimizer,
  partsOf,
  type TrainError,
  TrainEvent,
  Trainer as TrainerService,
  UnusedParts
} from "@graft/core"
import { Deferred, Effect, Queue as EventQueue, Layer, Stream } from "effect"
import { sha256OfText } from "./checkpointManifest.ts"
import { dataProblem } from "./dataProblem.ts"
import { blankDocument, planOf } from "./plan.ts"
import { train } from "./runTraining.ts"
import { Sampling } from "./Sampling.ts"
import type { Recipe } from "./Session.ts"
import { Sweep } from "./Sweep.ts"
import { decidingOptions, decodeTrainerOptions, type TrainerOptions } from "./TrainerOptions.ts"

type Needs = Backend | Kernels | ModelLoader | Adapter | Optimizer | Dataset

/** Core's service, with the layer that trains by gradients. */
export class Trainer extends TrainerService {
  static readonly layer = (
    options: (typeof TrainerOptions)["Encoded"]
  ): Layer.Layer<TrainerService, BadOptions, Needs> =>
    Layer.effect(TrainerService, Effect.flatMap(decodeTrainerOptions(options), makeTraining))
}

const makeTraining = Effect.fnUntraced(function* (options: TrainerOptions) {
  const [backend, kernels, model] = [yield* Backend, yield* Kernels, yield* ModelLoader]
  const [adapter, optimizer, dataset] = [yield* Adapter, yield* Optimizer, yield* Dataset]
  const [collective, store] = [yield* Collective, yield* CheckpointStore]
  const [sweep, sampling] = [yield* Sweep, yield* Sampling]
  const optional = [collective, store, sweep, sampling].flatMap(({ part }) => (part === undefined ? [] : [{ part }]))
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
    allReduce: collective.allReduce,
    haltsOnBadStep: options.badSteps === "stop"
  }
  const variants = sweep.variants.map((variant) => ({ adapter: adapter.plan, ...variant }))
  const adapters = variants.length === 0 ? [adapter.plan] : variants.map((variant) => variant.adapter)

  const planning = Effect.gen(function* () {
    const { inUse, unused } = parts()
    if (unused.length > 0) return yield* new UnusedParts({ unused })
    const { steps } = options
    const { stepsPerEpoch, evaluation } = dataset
    const micro = dataset.shapes(steps).map((lengths) => lengths.map(blankDocument))
    const message =
      adapters.map((plan) => plan.check(model.description, model.codec)).find((problem) => problem !== undefined) ??
      dataProblem(model.description, evaluation) ??
      evaluationProblem(options, evaluation.length) ??
      variantsProblem(variants.map(({ name }) => name))
    if (message !== undefined) return yield* new BadStack({ message })
    const plan = yield* Effect.try({
      try: () => planOf(backend.limits, recipe, micro, { evaluation, adapters, sampling }),
      catch: LoadError.from
    })
    const { memory, trainableParameters, ops, program, implementations, memoryOverStep } = plan
    const { stateBytes, optimizerBytes } = plan
    const overrides = [...kernels.overrides.values()].map(({ op, implementation }) => ({ op, implementation }))
    const event = TrainEvent.Plan({
      parts: inUse,
      memory,
      memoryOverStep,
      trainableParameters,
      disk: {
        stateBytes,
        optimizerBytes,
        fileBytes: fileBytesOf(options, trainableParameters),
        saves: savesOf(options)
      },
      steps,
      stepsPerEpoch,
      variants: variants.map(({ name }) => name),
      compute,
      opsPerStep: ops.length,
      implementations,
      overrides
    })
    return { event, program }
  })
  // Who has asked for the plan and runs then does not wait for it twice.
  const planned = yield* Effect.cached(planning)
  /** The weights' content is read whole, and beside the load: it is an effect of its own. */
  const identify = Effect.fnUntraced(function* (program: ReadonlyArray<string>) {
    const content = yield* Effect.tryPromise({
      try: async () => (await model.fingerprint?.()) ?? model.description.name,
      catch: LoadError.from
    })
    const what = {
      program,
      options: { ...decidingOptions(options), compute },
      optimizer: optimizer.rule ?? optimizer.part.name,
      weights: model.codec,
      variants: sweep.variants.map(({ name, learningRate }) => ({ name, learningRate }))
    }
    const recipeHash = yield* sha256OfText(JSON.stringify(what))
    // An optimiser's rule and the sweep are named too; the ops stand in the hash alone.
    const named = { ...what.options, optimizer: what.optimizer, weights: what.weights, sweep: what.variants }
    return { model: content, data: dataset.fingerprint, recipe: recipeHash.slice(0, 32), options: named }
  })
  const run = Stream.callback<TrainEvent, TrainError>((events) => {
    const emit = (event: TrainEvent) => Effect.asVoid(EventQueue.offer(events, event))
    const whole = Effect.gen(function* () {
      const { event, program } = yield* planned
      yield* emit(event)
      const { memory, disk } = event
      yield* store.requireRoom?.(disk.stateBytes, disk.fileBytes, disk.saves) ?? Effect.void
      const identity = identify(program)
      yield* train({ options, recipe, variants, backend, dataset, sampling, store, stopped, identity, memory, emit })
      yield* EventQueue.end(events)
    })
    return Effect.catch(Effect.scoped(whole), (e: TrainError) => EventQueue.fail(events, e))
  })
  const plan = Effect.map(planned, ({ event }) => event)
  return { plan, run, stop: Effect.asVoid(Deferred.succeed(stopped, undefined)) }
})

const savesOf = ({ steps, saveEvery }: TrainerOptions): number =>
  1 + (saveEvery > 0 ? Math.floor((steps - 1) / saveEvery) : 0)
/** In f32, with what is kept as the best, before and while it is replaced. */
const fileBytesOf = ({ keepBest }: TrainerOptions, trainableParameters: number): number =>
  4 * trainableParameters * (keepBest ? 3 : 1)

const evaluationProblem = ({ patience, keepBest, evalEvery }: TrainerOptions, rows: number): string | undefined => {
  const wanting =
    patience > 0 ? "early stopping (patience)" : keepBest ? "keeping the best adapter (keepBest)" : undefined
  if (wanting === undefined) return undefined
  if (rows === 0) return `${wanting} needs held-out rows, and there are none; hold some out`
  return evalEvery > 0 ? undefined : `${wanting} needs evaluations between the steps; set evalEvery`
}
const variantsProblem = (names: ReadonlyArray<string>): string | undefined => {
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) return `the sweep has ${twice} twice; each adapter needs a name of its own`
  const bad = names.find((name) => !/^[\w=.+-]+$/.test(name) || name.startsWith("."))
  return bad === undefined
    ? undefined
    : `the sweep's ${JSON.stringify(bad)} names a folder: letters, digits and = . + - _ only`
}
