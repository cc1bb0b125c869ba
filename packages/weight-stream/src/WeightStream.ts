/** A model loader over another, whose frozen layers stream from their file under a byte budget. */
import {
  type BadOptions,
  BadStack,
  decodeOptions,
  loadAtOnce,
  MetaQueue,
  ModelLoader,
  makePart,
  oneArena,
  PositiveInt,
  Scope,
  WeightCodec
} from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { defer, deferNoMore, deferredCodec } from "./deferredCodec.ts"
import { streamModel } from "./streamedModel.ts"
import { closeReader } from "./streamKernels.ts"
import { WeightStreamError } from "./WeightStreamError.ts"

const Options = Schema.Struct({
  /** For all frozen weights: embedding and head stay, and the layers have the rest. */
  memoryBytes: PositiveInt
})
const decode = decodeOptions("WeightStream", Options)

const layer = <E, R>(
  loader: Layer.Layer<ModelLoader, E, R>,
  options: typeof Options.Encoded
): Layer.Layer<ModelLoader, E | BadOptions | BadStack | WeightStreamError, R | WeightCodec> => {
  const codec = Layer.effect(
    WeightCodec,
    Effect.map(WeightCodec, (below) => ({ part: below.part, codec: deferredCodec(below.codec) }))
  )
  const streamed = Layer.effect(
    ModelLoader,
    Effect.gen(function* () {
      const { memoryBytes } = yield* decode(options)
      const below = yield* ModelLoader
      const { description } = below
      const opened = yield* Effect.acquireRelease(
        Effect.sync(() => new Set<number>()),
        (stores) => Effect.sync(() => stores.forEach(closeReader))
      )
      const ofLayers = new Set(description.linears.map(({ path }) => path))
      const load: (typeof below)["load"] = function* (queue, scope, trained) {
        const before = queue.allocator.live.get("weights") ?? 0
        defer(scope, (path) => ofLayers.has(path))
        try {
          const model = yield* below.load(queue, scope, trained)
          return streamModel(queue, scope, model, memoryBytes, before, (store) => opened.add(store))
        } finally {
          deferNoMore(scope)
        }
      }
      yield* Effect.try({
        try: () => {
          const queue = new MetaQueue(oneArena("plan"))
          loadAtOnce(load(queue, new Scope(queue, "weights"), () => false))
        },
        catch: (cause) =>
          cause instanceof WeightStreamError
            ? cause
            : new BadStack({ message: cause instanceof Error ? cause.message : String(cause) })
      })
      const name = `weights streamed under ${Number((memoryBytes / 1e9).toPrecision(3))} GB`
      return { ...below, part: yield* makePart(name, below), load }
    })
  )
  return streamed.pipe(Layer.provide(loader.pipe(Layer.provide(codec))))
}

export const WeightStream = { layer }
