/** The slow, obvious engine in TypeScript as a layer: the oracle of all others, and what runs where nothing else does. */
import { Effect, Layer } from "effect"
import { makePart } from "../Parts.ts"
import { oneArena, type Queue } from "../Queue.ts"
import { Backend, Kernels } from "../services.ts"
import { ReferenceQueue } from "./ReferenceQueue.ts"

/** `record`: keep a hash of each op's outputs, for the flight recorder. */
const layerOf = (options: { readonly record?: boolean }): Layer.Layer<Backend | Kernels> =>
  Layer.mergeAll(
    Layer.effect(
      Backend,
      Effect.map(makePart("reference backend"), (part) => ({
        part,
        limits: oneArena("reference"),
        multipliesBf16: false,
        open: (arenaBytes: ReadonlyArray<number>) =>
          Effect.acquireRelease(
            Effect.sync((): Queue => new ReferenceQueue(arenaBytes, options)),
            (queue) => Effect.promise(() => queue.close())
          )
      }))
    ),
    Kernels.layerComposed
  )
export const Reference = { layer: layerOf({}), layerOf }
