/**
 * From flags to a stack: the device is looked at, the model opened, the adapter checked against it, the rows read; then
 * the layers stand, and the trainer's plan and run are functions of them. No weight is read here.
 */
import type { Profile } from "@graft/backend-cpu"
import { Adapter, Backend, type Dataset, Trainer as TrainerService } from "@graft/core"
import { describeLlama, type OpenedModel } from "@graft/llama-loader"
import { type ChatTemplate, type DataReport, prepareData, Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Context, Effect, Layer } from "effect"
import type { PlanInput } from "../flags/planFlags.ts"
import type { TrainInput } from "../flags/trainFlags.ts"
import { findPrepared, type Ready, usePrepared } from "../prepared/usePrepared.ts"
import { InvalidInput } from "../problems.ts"
import { costOf } from "../rates/expectedTime.ts"
import type { Screen } from "../show/Screen.ts"
import { adapterLayer } from "./adapterLayer.ts"
import { withAddedTokens } from "./addedTokens.ts"
import { backendLayer } from "./backendLayer.ts"
import { blankRows } from "./blankRows.ts"
import { cutRows, cutStep } from "./cutRows.ts"
import { requireFit } from "./diskNeeds.ts"
import { fitToMemory, OPERATIONS_PER_BYTE, pagingCost } from "./fitToMemory.ts"
import { openForPlan } from "./openForPlan.ts"
import { type Described, openNamed, openNamedShapes } from "./openNamed.ts"
import { optimizerLayer } from "./optimizerLayer.ts"
import { rowOptions } from "./rowOptions.ts"
import { samplingLayer } from "./samplingLayer.ts"
import { sweepLayer } from "./sweepLayer.ts"
import { dataModelOf, templateOf } from "./textOfModel.ts"
import type { Way } from "./Way.ts"
import { computeOf, loaderLayer } from "./weightStorage.ts"
import { type AverageStep, averageOf, workOfStep } from "./workOfStep.ts"

/** `store`: where the run is kept; a plan has none. `profile` is told of what the device runs. */
export const prepareRun = Effect.fnUntraced(function* (
  input: TrainInput,
  store?: string,
  profile?: Profile,
  screen?: Screen
) {
  const described = yield* openNamedShapes(input.model, screen)
  const { toFetch } = described
  if (toFetch !== undefined && store !== undefined) {
    // By shapes alone: what is wrong with the run is said before gigabytes are fetched for it.
    const early = Effect.gen(function* () {
      const { planAs, way, toMake } = yield* planOver(described, { ...input, tokens: undefined })
      yield* requireFit(yield* planAs(way), [toFetch, toMake], { input, way, folder: store })
    })
    yield* Effect.scoped(early)
  }
  const opened = toFetch === undefined ? described.model : yield* openNamed(input.model, screen)
  const model = yield* withAddedTokens(opened, input)
  const found = yield* findPrepared(opened, input, screen)
  const run = yield* stackOf(input, model, yield* withTokensOf(found), rowsOf(input, model), store, profile)
  // What is wrong with the rest of the run is known by now, before minutes of quantising.
  const { weightsMemory = input.weightsMemory } = run.way
  if (found.toMake !== undefined && store !== undefined)
    yield* requireFit(yield* run.planAs(run.way), [found.toMake], { input, way: run.way, folder: store })
  const ready = found.isMade ? found : yield* usePrepared(opened, { ...input, weightsMemory }, screen)
  return { ...run, stack: yield* run.stackOver(yield* withTokensOf(ready)) }
})
const withTokensOf = ({ model, input }: Ready<TrainInput>) =>
  Effect.map(withAddedTokens(model, input), (extended): Ready<TrainInput> => ({ model: extended, input }))

/** What a plan is made of: as a run, but that the weights need not be there, and rows may be known by their length. */
export const preparePlan = Effect.fnUntraced(function* (input: PlanInput) {
  return yield* planOver(yield* openForPlan(input.model), input)
})
const planOver = Effect.fnUntraced(function* ({ model: opened, toFetch }: Described, input: PlanInput) {
  const model = yield* withAddedTokens(opened, input)
  const found = yield* findPrepared(opened, input)
  const weights = yield* withTokensOf(found)
  const { tokens, batchSize, gradAccumulation } = input
  if (tokens === undefined && input.data.length === 0)
    return yield* new InvalidInput({ message: "--data is missing; or say with --tokens how long the rows are" })
  if (tokens !== undefined && tokens > model.config.maxPositions)
    return yield* new InvalidInput({
      message: `--tokens is ${tokens}, and ${input.model} has ${model.config.maxPositions} positions; give no more`
    })
  const rows =
    tokens === undefined
      ? rowsOf(input, model)
      : Effect.succeed<RowsOfRun>(blankRows(tokens, batchSize, gradAccumulation))
  const run = yield* stackOf(input, model, weights, rows)
  return { ...run, stack: yield* run.stackOver(weights), toFetch, toMake: found.toMake }
})

interface RowsOfRun {
  readonly dataset: Layer.Layer<Dataset>
  readonly stepsPerEpoch: number
  readonly batches: Dataset["Service"]["batches"]
  /** What was read; nothing was, where only lengths are known. */
  readonly report: DataReport | undefined
  /** What wrote the conversations. */
  readonly template?: ChatTemplate | undefined
}
const rowsOf = Effect.fnUntraced(function* (input: TrainInput, model: OpenedModel) {
  const template = yield* templateOf(model, input)
  const data = yield* prepareData(dataOptions(input), dataModelOf(model, template))
  const { stepsPerEpoch, batches, report } = data
  return { dataset: Sft.layerOf(data), stepsPerEpoch, batches, report, template } satisfies RowsOfRun
})

const stackOf = Effect.fnUntraced(function* <E, R>(
  input: TrainInput,
  model: OpenedModel,
  weights: Ready<TrainInput>,
  rows: Effect.Effect<RowsOfRun, E, R>,
  store?: string,
  profile?: Profile
) {
  if (input.memory !== undefined && input.checkpointing)
    return yield* new InvalidInput({
      message: "--memory and --checkpointing both say how many layers recompute: leave one of them out"
    })
  const device = backendLayer(input, profile, input.record)
  const adapter = yield* adapterLayer(input, model)
  const optimizer = yield* optimizerLayer(input, learningRateOf(input), store)
  // A typing mistake in a target should not have to wait for a million rows.
  const early = adapter.pipe(Layer.provide(yield* loaderLayer(weights.model, weights.input, "f32")))
  const built = yield* Effect.scoped(Layer.build(Layer.mergeAll(early, device, optimizer)))
  const { trainsBase } = Context.get(built, Adapter).plan

  const data = yield* rows
  const steps = input.steps ?? Math.max(1, Math.ceil((input.epochs ?? 1) * data.stepsPerEpoch))
  const trainer = ({ checkpointing, attentionAgain }: Pick<Way, "checkpointing" | "attentionAgain">) =>
    Trainer.layer({
      steps,
      learningRate: learningRateOf(input),
      schedule: input.schedule,
      warmup: input.warmup,
      maxGradNorm: input.maxGradNorm,
      seed: input.seed,
      checkpointing,
      ...(attentionAgain === undefined ? {} : { attentionAgain }),
      ...(input.compute === undefined ? {} : { compute: input.compute }),
      neftuneAlpha: input.neftuneAlpha,
      labelSmoothing: input.labelSmoothing,
      evalEvery: input.evalEvery,
      patience: input.patience,
      minDelta: input.minDelta,
      keepBest: input.keepBest,
      spikeFactor: input.lossSpike,
      badSteps: input.onBadStep,
      record: input.record,
      saveEvery: input.saveEvery,
      resume: input.resume
    })
  const sampling = yield* samplingLayer(input, model, data.template)
  const sweep = sweepLayer(input, model)
  const stackAs = Effect.fnUntraced(function* ({ parts, ...settled }: Way, ready = weights) {
    const updating = yield* optimizerLayer({ ...input, ...settled }, learningRateOf(input), store)
    const rowsAs = parts === 1 ? data.dataset : cutRows(data.dataset, parts)
    const overDevice = Layer.unwrap(
      Effect.gen(function* () {
        const compute = computeOf(input.compute, yield* Backend)
        const { weightsMemory = input.weightsMemory } = settled
        return trainer(settled).pipe(
          Layer.provide(updating),
          Layer.provide(rowsAs),
          Layer.provide(sampling),
          Layer.provide(sweep),
          Layer.provide(store === undefined ? Layer.empty : FolderStore.layer(store)),
          Layer.provideMerge(adapter),
          Layer.provideMerge(yield* loaderLayer(ready.model, { ...ready.input, weightsMemory }, compute))
        )
      })
    )
    return overDevice.pipe(Layer.provideMerge(device))
  })
  const planAs = (way: Way) =>
    Effect.flatMap(stackAs(way), (stack) =>
      Effect.scoped(
        Effect.provide(
          Effect.flatMap(TrainerService, ({ plan }) => plan),
          stack
        )
      )
    )

  const asked: Way = {
    checkpointing: input.checkpointing,
    parts: 1,
    optimizer: input.optimizer,
    optimizerMemory: input.optimizerMemory
  }
  const sampled = Math.min(steps, SAMPLED_STEPS)
  const { linears, head } = describeLlama(model.config, model.path)
  const matrices = [...new Set(["model.embed_tokens", head])].filter(trainsBase).length
  const whole = { matrices, head: trainsBase(head) }
  /** A step as such a way runs it, on the average. */
  const stepAs = (way: Way, trainableParameters: number): AverageStep => {
    const { checkpointing, attentionAgain } = way
    const options = { trainsBase: input.full, checkpointing, attentionAgain, trainableParameters, whole }
    const batches = cutStep(data.batches, way.parts)
    return averageOf(
      Array.from({ length: sampled }, (_, i) => batches(i + 1)),
      (micro) => workOfStep({ linears }, model.config, micro, options)
    )
  }
  const { memory: budget } = input
  let weightBytes = 0
  /** What a step reads from the disk: each pass all frozen weights but what is kept. */
  const bytesStreamed = ({ weightsMemory }: Way, { microBatches }: AverageStep): number =>
    weightsMemory === undefined ? 0 : 2 * microBatches * Math.max(0, weightBytes - weightsMemory)
  const leastWeightsMemory =
    input.weightsMemory !== undefined || !Context.get(built, Backend).limits.views
      ? Effect.succeed(undefined)
      : planAs({ ...asked, weightsMemory: 1 }).pipe(
          Effect.as(undefined),
          Effect.catchTag("WeightStreamError", ({ smallest }) => Effect.succeed(smallest))
        )
  const fit =
    budget === undefined
      ? undefined
      : yield* Effect.gen(function* () {
          const { trainableParameters, memory } = yield* planAs(asked)
          const stateBytes = memory.byCategory.get("optimizer") ?? 0
          weightBytes = memory.byCategory.get("weights") ?? 0
          return yield* fitToMemory({
            budget,
            layers: model.config.layers,
            rows: Math.max(...data.batches(1).map((documents) => documents.length)),
            optimizer: input.optimizer,
            optimizerMemory: input.optimizerMemory,
            stateBytes,
            memoryOf: (way) => Effect.map(planAs(way), (plan) => plan.memory.peakBytes),
            costOf: (way) => {
              const step = stepAs(way, trainableParameters)
              const arithmetic = costOf(step.work, step.microBatches) + pagingCost(stateBytes, input.optimizer, way)
              return Math.max(arithmetic, OPERATIONS_PER_BYTE * bytesStreamed(way, step)) // read while others are multiplied
            },
            leastWeightsMemory
          })
        })
  const way = fit?.chosen.way ?? asked
  const stackOver = (ready: Ready<TrainInput>) => stackAs(way, ready)
  return { model, data, steps, way, fit, stepAs, bytesStreamed, planAs, stackOver }
})
/** Steps whose work is averaged. */
const SAMPLED_STEPS = 16

export const learningRateOf = (input: TrainInput): number => input.learningRate ?? (input.full ? 2e-5 : 2e-4)

const dataOptions = (input: TrainInput) => ({
  ...rowOptions(input),
  ...(input.evalData.length === 0 ? {} : { evaluationData: input.evalData }),
  evaluationFraction: input.evalFraction,
  allow: input.allow,
  batchSize: input.batchSize,
  gradAccumulationSteps: input.gradAccumulation,
  packing: input.packing,
  groupByLength: input.groupByLength,
  shuffle: input.shuffle,
  seed: input.seed
})
