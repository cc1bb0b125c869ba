/**
 * The public contract. A service holds a plain recipe (a function of a queue), never buffers: so the plan can run every part
 * on the meta queue before any memory is taken or weight read.
 */
import { Context, Effect, Layer, type Scope } from "effect"
import type { AdapterPlan } from "./Adapter.ts"
import type { MicroBatch } from "./Document.ts"
import type { OutOfMemory } from "./errors.ts"
import type { Loaded, Model, ModelDescription } from "./Model.ts"
import type { Override, Overrides } from "./Op.ts"
import type { MakeOptimizer } from "./Optimizer.ts"
import { makePart, type Part } from "./Parts.ts"
import type { Limits, Queue } from "./Queue.ts"
import { denseCodec } from "./reference/denseCodec.ts"
import type { ScaleFormat } from "./ScaleFormat.ts"
import type { Tensor, Scope as TensorScope } from "./Tensor.ts"
import type { Codec } from "./Weight.ts"

/** A device: its limits, which the plan needs, and queues over arenas of planned sizes. */
export class Backend extends Context.Service<
  Backend,
  Part & {
    readonly limits: Limits
    /** Whether it multiplies bf16: the dtype of activations that a recipe without one gets. */
    readonly multipliesBf16: boolean
    readonly open: (arenaBytes: ReadonlyArray<number>) => Effect.Effect<Queue, OutOfMemory, Scope.Scope>
  }
>()("@graft/core/Backend") {}

/** The ops that are replaced by fused ones. A backend brings the empty table; results are equal but for rounding. */
export class Kernels extends Context.Service<Kernels, Part & { readonly overrides: Overrides }>()(
  "@graft/core/Kernels"
) {
  static readonly layerComposed: Layer.Layer<Kernels> = Layer.effect(
    Kernels,
    Effect.map(makePart("composed ops"), (part) => ({ part, overrides: new Map() }))
  )
  /** The table below, with these entries on top. */
  static readonly override = (
    name: string,
    ...entries: ReadonlyArray<Override>
  ): Layer.Layer<Kernels, never, Kernels> =>
    Layer.effect(
      Kernels,
      Effect.gen(function* () {
        const below = yield* Kernels
        const added = entries.map((entry) => [entry.op, entry] as const)
        return { part: yield* makePart(name, below), overrides: new Map([...below.overrides, ...added]) }
      })
    )
}
/** How a quantiser keeps its scales. */
export class ScaleCodec extends Context.Service<ScaleCodec, Part & { readonly format: ScaleFormat }>()(
  "@graft/core/ScaleCodec"
) {}
/** How the frozen weights of linears are stored. */
export class WeightCodec extends Context.Service<WeightCodec, Part & { readonly codec: Codec }>()(
  "@graft/core/WeightCodec"
) {}
/** Comes with dense weights and no others, so that to train quantised weights does not compile. */
export class TrainableWeights extends Context.Service<TrainableWeights, Part>()("@graft/core/TrainableWeights") {}
export class ModelLoader extends Context.Service<
  ModelLoader,
  Part & {
    readonly description: ModelDescription
    readonly codec: string
    /** Names the content of its weights, wherever they lie; left out: the model's name does. May read all of them. */
    readonly fingerprint?: () => Promise<string>
    readonly load: (
      queue: Queue,
      scope: TensorScope,
      trained: (path: string) => boolean
    ) => Generator<Loaded, Model, void>
  }
>()("@graft/core/ModelLoader") {}
export class Adapter extends Context.Service<Adapter, Part & { readonly plan: AdapterPlan }>()("@graft/core/Adapter") {}
/** `rule` names what the update computes, wherever its state lies: a run goes on only with the same. */
export class Optimizer extends Context.Service<
  Optimizer,
  Part & { readonly make: MakeOptimizer; readonly rule?: string }
>()("@graft/core/Optimizer") {}
/** What to train on. A step's batches are a function of its number, so that resuming needs nothing else. */
export class Dataset extends Context.Service<
  Dataset,
  Part & {
    /** Optimiser steps in one pass over the rows. */
    readonly stepsPerEpoch: number
    /** The micro-batches of optimiser step `step`, from 1. */
    readonly batches: (step: number) => ReadonlyArray<MicroBatch>
    /** The distinct micro-batches of steps 1 … steps by the lengths of their documents: what their memory depends on. */
    readonly shapes: (steps: number) => ReadonlyArray<ReadonlyArray<number>>
    /** Held-out micro-batches. */
    readonly evaluation: ReadonlyArray<MicroBatch>
    /** Names the rows, so that a run can tell whether it goes on with the same data. */
    readonly fingerprint: string
    /** Where a row was read, for messages; left out: by number. */
    readonly nameOf?: (sample: number) => string
  }
>()("@graft/core/Dataset") {}

/** Sums over the processes of a data-parallel run; one process unless a layer says otherwise, which changes nothing. */
export class Collective extends Context.Reference<{
  readonly part?: Part["part"]
  readonly allReduce: (queue: Queue, tensors: ReadonlyArray<Tensor>) => void
}>("@graft/core/Collective", { defaultValue: () => ({ allReduce: () => {} }) }) {}

const dense = (dtype?: "source" | "f32" | "bf16" | "f16"): Layer.Layer<WeightCodec | TrainableWeights> =>
  Layer.effectContext(
    Effect.map(makePart(["dense weights", dtype ?? []].flat().join(" ")), (part) =>
      Context.make(TrainableWeights, { part }).pipe(Context.add(WeightCodec, { part, codec: denseCodec(dtype) }))
    )
  )
/** Frozen weights unquantised, in their file's dtype or another. */
export const Dense = { layer: dense(), layerOf: dense }
