/** A TensorFlow.js backend as a layer: the module is the user's, whatever package it comes from. */
import { Backend, Kernels, type Limits, makePart, oneArena, type Queue } from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { workspaceOn } from "./plan.ts"
import { heldBytes } from "./storage.ts"
import type { TensorFlow } from "./TensorFlow.ts"
import { TfjsQueue } from "./TfjsQueue.ts"

/** The module gives no backend, or not the one that was asked for. */
export class TfjsUnavailable extends Schema.TaggedError<TfjsUnavailable>()("TfjsUnavailable", {
  message: Schema.String
}) {}

/** The tables of the codes of 4-bit weights and of 8-bit scales, which stay once they are used. */
const TABLES = 4 * (2 * 3 * 4096 + 256)

/** What a plan needs to know: every buffer is one tensor, and a kernel's temporaries are tensors too. */
export const tfjsLimits = (backend: string): Limits => ({
  ...oneArena(`TensorFlow.js, ${backend}`, 4),
  views: false,
  fixedBytes: TABLES,
  heldBytes,
  workspaceBytes: workspaceOn(backend)
})

export interface TfjsOptions {
  /** The backend of the module, `wasm` or `webgpu`; left out: the one that it chose itself. */
  readonly backend?: string
}
const namesOf = (tf: TensorFlow): string => `TensorFlow.js (${tf.getBackend()})`

export const Tfjs = {
  layer: (tf: TensorFlow, { backend }: TfjsOptions = {}): Layer.Layer<Backend | Kernels, TfjsUnavailable> =>
    Layer.merge(
      Layer.effect(
        Backend,
        Effect.gen(function* () {
          yield* Effect.tryPromise({
            try: async () => {
              if (backend !== undefined && !(await tf.setBackend(backend))) throw new Error("it does not start")
              await tf.ready()
            },
            catch: (e) =>
              new TfjsUnavailable({
                message: `TensorFlow.js: backend ${backend ?? "of its own choice"}: ${e instanceof Error ? e.message : String(e)}; import its package (@tensorflow/tfjs-backend-${backend ?? "cpu"}) before`
              })
          })
          return {
            part: yield* makePart(namesOf(tf)),
            limits: tfjsLimits(tf.getBackend()),
            multipliesBf16: false,
            open: (arenaBytes: ReadonlyArray<number>) =>
              Effect.acquireRelease(
                Effect.sync((): Queue => new TfjsQueue(tf, arenaBytes, tfjsLimits(tf.getBackend()))),
                (queue) => Effect.promise(() => queue.close())
              )
          }
        })
      ),
      Kernels.layerComposed
    )
}
