/** Gradients of an adapter as a session makes them, to compare with PEFT's. For tests. */
import {
  Adapter,
  adamW,
  Backend,
  type BadStack,
  Dense,
  Kernels,
  loadAtOnce,
  ModelLoader,
  type Tensor
} from "@graft/core"
import { FullTraining, LlamaLoader } from "@graft/llama-loader"
import { type AdapterError, Lora } from "@graft/lora"
import { blankDocument, makeSession, planOf, type Recipe } from "@graft/trainer"
import { Effect, Layer } from "effect"
import { integersIn } from "./goldenSets.ts"
import { backendLayer } from "./stack/backendLayer.ts"

export interface GoldenRun {
  readonly model: string
  /** A file with `input_ids` [documents, tokens] or [tokens]. */
  readonly ids: string
  /** Left out: all weights are trained. */
  readonly adapter?: string
  /** Layers are computed anew in backward: all, or so many. */
  readonly checkpointing?: boolean | number
  /** Layers whose attention is; left out: those. */
  readonly attentionAgain?: number
}

const trained = (adapter: string | undefined): Layer.Layer<Adapter, AdapterError | BadStack, ModelLoader> =>
  adapter === undefined ? FullTraining.layer().pipe(Layer.provide(Dense.layer)) : Lora.layerFrom(adapter)

/** Of the mean loss over the ids, by parameter: what the optimiser would be given. */
export const gradientsOf = (
  { model: path, ids: idsFile, adapter, checkpointing = false, attentionAgain }: GoldenRun,
  backend: string
): Promise<ReadonlyMap<string, Float32Array>> =>
  Effect.gen(function* () {
    const device = yield* Backend
    const [{ overrides }, model, { plan }] = [yield* Kernels, yield* ModelLoader, yield* Adapter]
    const { shape, values } = yield* Effect.promise(() => integersIn(idsFile, "input_ids"))
    const length = shape.at(-1)!
    const documents = Array.from({ length: values.length / length }, (_, sample) => {
      const ids = values.slice(sample * length, (sample + 1) * length)
      return { sample, ids, targets: [...ids.slice(1), -1] }
    })
    let reads: ReadonlyArray<Promise<Float32Array>> = []
    const recipe: Recipe = {
      load: model.load,
      adapter: plan,
      optimizer: adamW({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, groupFactors: {} }),
      overrides,
      allReduce: (queue, tensors: ReadonlyArray<Tensor>) => {
        reads = tensors.map((t) => queue.read(t))
      },
      compute: "f32",
      seed: 0,
      checkpointing,
      attentionAgain,
      maxGradNorm: 0
    }
    const measured = { ...recipe, allReduce: () => {} }
    const { memory } = planOf(device.limits, measured, [documents.map((d) => blankDocument(d.ids.length))])
    const queue = yield* device.open(memory.arenaBytes)
    const session = loadAtOnce(makeSession(queue, recipe))
    session.step(1, [documents], 0, () => {})
    const [tokens, ...ranges] = yield* Effect.promise(async () => {
      const all = await Promise.all(reads)
      return [all.at(-2)!, ...all.slice(0, -2)] // the counts of tokens and the loss come last
    })
    const found = new Map<string, Float32Array>()
    for (const [i, { parameters }] of session.parameters.ranges.entries())
      for (const { path, start, length: n } of parameters)
        found.set(
          path,
          ranges[i]!.slice(start, start + n).map((sum) => sum / tokens![0]!)
        )
    session[Symbol.dispose]()
    return found
  }).pipe(
    Effect.provide(
      trained(adapter).pipe(
        Layer.provideMerge(LlamaLoader.layer(path)),
        Layer.provide(Dense.layer),
        Layer.provideMerge(
          backendLayer({
            backend: backend === "cpu" ? "cpu" : "reference",
            threads: undefined,
            isa: undefined,
            fused: "on"
          })
        )
      )
    ),
    Effect.scoped,
    Effect.runPromise
  )
