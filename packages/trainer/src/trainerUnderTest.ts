/** A trainer over the toy, as the tests run it: its layers, its events, its failures. */
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { NodeServices } from "@effect/platform-node"
import {
  AdamW,
  type Adapter,
  type Backend,
  type BadOptions,
  type Dataset,
  Dense,
  type Kernels,
  type ModelLoader,
  type Optimizer,
  Reference,
  type TrainError,
  type TrainEvent,
  Trainer as TrainerService
} from "@graft/core"
import { ToyAdapter, ToyDataset, ToyLoader, toyDocument } from "@graft/testing"
import { Cause, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { FolderStore } from "./FolderStore.ts"
import { Sweep, type Variant } from "./Sweep.ts"
import { Trainer } from "./Trainer.ts"

export type Options = Parameters<typeof Trainer.layer>[0]
export type Stack = Layer.Layer<TrainerService, BadOptions>
export interface Given {
  readonly data?: Layer.Layer<Dataset>
  readonly adapter?: Layer.Layer<Adapter, never, ModelLoader>
  readonly store?: Layer.Layer<never>
  readonly backend?: Layer.Layer<Backend | Kernels>
  readonly optimizer?: Layer.Layer<Optimizer>
  readonly variants?: ReadonlyArray<Variant>
  readonly sampling?: Layer.Layer<never>
}
export const stack = (
  options: Options,
  {
    data = ToyDataset.layer(),
    adapter = ToyAdapter.layer(),
    store = Layer.empty,
    backend = Reference.layer,
    optimizer = AdamW.layer() as Layer.Layer<Optimizer>, // its options are the defaults, which decode
    variants,
    sampling = Layer.empty
  }: Given = {}
): Stack =>
  Trainer.layer(options).pipe(
    Layer.provide(Layer.mergeAll(store, sampling, variants === undefined ? Layer.empty : Sweep.layer(variants))),
    Layer.provide(optimizer),
    Layer.provide(data),
    Layer.provide(adapter),
    Layer.provide(ToyLoader.layer()),
    Layer.provide(Dense.layer),
    Layer.provide(backend)
  )
export const folderStore = (folder: string): Layer.Layer<never> =>
  FolderStore.layer(folder).pipe(Layer.provide(NodeServices.layer), Layer.orDie) // each folder is one run's

export const inFolder = async (body: (folder: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "graft-trainer-"))
  try {
    await body(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export type Tag = TrainEvent["_tag"]
export type Of<T extends Tag> = Extract<TrainEvent, { readonly _tag: T }>
export const only = <T extends Tag>(events: ReadonlyArray<TrainEvent>, tag: T): ReadonlyArray<Of<T>> =>
  events.filter((e): e is Of<T> => e._tag === tag)
export const collect = (layer: Stack): Promise<ReadonlyArray<TrainEvent>> =>
  Effect.runPromise(TrainerService.use(({ run }) => Stream.runCollect(run)).pipe(Effect.provide(layer)))
export const failure = async (layer: Stack): Promise<TrainError | BadOptions> => {
  const exit = await Effect.runPromiseExit(
    TrainerService.use(({ run }) => Stream.runDrain(run)).pipe(Effect.provide(layer))
  )
  assert.ok(Exit.isFailure(exit), "the run succeeded")
  const [reason] = exit.cause.reasons
  return reason !== undefined && Cause.isFailReason(reason) ? reason.error : assert.fail(Cause.pretty(exit.cause))
}
/** Collects events until one is `last`, then does `and`. */
export const until = (layer: Stack, last: (event: TrainEvent) => boolean, and: "interrupt" | "stop") =>
  Effect.runPromise(
    Effect.gen(function* () {
      const { run, stop } = yield* TrainerService
      const seen: Array<TrainEvent> = []
      const fiber: Fiber.Fiber<void, TrainError> = yield* Effect.forkChild(
        Stream.runForEach(run, (event) =>
          Effect.gen(function* () {
            seen.push(event)
            if (last(event)) yield* and === "stop" ? stop : Effect.never
          })
        )
      )
      if (and === "interrupt") {
        while (!seen.some(last)) yield* Effect.sleep(1)
        yield* Fiber.interrupt(fiber)
      } else yield* Fiber.join(fiber)
      return seen
    }).pipe(Effect.provide(layer))
  )
export const losses = (events: ReadonlyArray<TrainEvent>): ReadonlyArray<number> =>
  only(events, "Step").map(({ loss }) => loss)
export const adapterIn = (folder: string): ReadonlyArray<number> =>
  (
    JSON.parse(readFileSync(join(folder, "adapter.json"), "utf8")) as ReadonlyArray<{
      readonly values: ReadonlyArray<number>
    }>
  ) // toyLora wrote it
    .flatMap(({ values }) => values)
/** Rows to evaluate on. */
export const heldOut = { evaluation: [[toyDocument(0), toyDocument(1, 7)], [toyDocument(3, 9, 2)]] }
