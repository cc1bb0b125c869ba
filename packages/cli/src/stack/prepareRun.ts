/**
 * From flags to a stack: the device is looked at, the model opened, the adapter checked against it, the rows read; then
 * the layers stand, and the trainer's plan and run are functions of them. No weight is read here.
 */
import type { Profile } from "@graft/backend-cpu"
import { Backend } from "@graft/core"
import { openModel } from "@graft/llama-loader"
import { prepareData, Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Effect, Layer } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { adapterLayer } from "./adapterLayer.ts"
import { backendLayer } from "./backendLayer.ts"
import { optimizerLayer } from "./optimizerLayer.ts"
import { rowOptions } from "./rowOptions.ts"
import { dataModelOf, templateOf } from "./textOfModel.ts"
import { computeOf, loaderLayer } from "./weightStorage.ts"

/** `store`: where the run is kept; a plan has none. `profile` is told of what the device runs. */
export const prepareRun = Effect.fnUntraced(function* (input: TrainInput, store?: string, profile?: Profile) {
  const device = backendLayer(input, profile)
  const model = yield* openModel(input.model)
  const adapter = yield* adapterLayer(input, model)
  const optimizer = yield* optimizerLayer(input, store)
  // A typing mistake in a target should not have to wait for a million rows.
  const early = adapter.pipe(Layer.provide(yield* loaderLayer(model, input, "f32")))
  yield* Effect.scoped(Layer.build(Layer.mergeAll(early, device, optimizer)))

  const data = yield* prepareData(dataOptions(input), dataModelOf(model, yield* templateOf(model, input.chatTemplate)))
  const steps = input.steps ?? Math.max(1, Math.ceil((input.epochs ?? 1) * data.stepsPerEpoch))
  const trainer = Trainer.layer({
    steps,
    learningRate: learningRateOf(input),
    schedule: input.schedule,
    warmup: input.warmup,
    maxGradNorm: input.maxGradNorm,
    seed: input.seed,
    checkpointing: input.checkpointing,
    ...(input.compute === undefined ? {} : { compute: input.compute }),
    evalEvery: input.evalEvery,
    saveEvery: input.saveEvery,
    resume: input.resume
  })
  const overDevice = Layer.unwrap(
    Effect.gen(function* () {
      const compute = computeOf(input.compute, yield* Backend)
      return trainer.pipe(
        Layer.provide(optimizer),
        Layer.provide(Sft.layerOf(data)),
        Layer.provide(store === undefined ? Layer.empty : FolderStore.layer(store)),
        Layer.provideMerge(adapter),
        Layer.provideMerge(yield* loaderLayer(model, input, compute))
      )
    })
  )
  return { model, data, steps, stack: overDevice.pipe(Layer.provideMerge(device)) }
})

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
