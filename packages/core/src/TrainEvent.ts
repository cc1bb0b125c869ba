/** What a run tells. Progress bars, metrics files and reports are consumers of this one stream. */
import { Data } from "effect"
import type { Category } from "./Allocator.ts"
import type { MemoryPlan } from "./MetaQueue.ts"
import type { PageTraffic } from "./Optimizer.ts"

export type TrainEvent = Data.TaggedEnum<{
  /** Before anything is read: which parts are in use and what the run takes. */
  readonly Plan: {
    readonly parts: ReadonlyArray<string>
    readonly memory: MemoryPlan
    /** Bytes live in the course of a step of the first shape, by category, at moments in order. */
    readonly memoryOverStep: ReadonlyMap<Category, ReadonlyArray<number>>
    readonly trainableParameters: number
    readonly steps: number
    readonly stepsPerEpoch: number
    readonly compute: string
    readonly opsPerStep: number
    /** Which implementation runs for the ops that a layer replaced. */
    readonly overrides: ReadonlyArray<{ readonly op: string; readonly implementation: string }>
  }
  readonly Load: { readonly path: string; readonly bytes: number; readonly loadedBytes: number }
  /** Goes on from a checkpoint. */
  readonly Resume: { readonly step: number }
  /** Within a step: the share of its commands that have run. */
  readonly Progress: { readonly step: number; readonly fraction: number }
  /** Loss and gradient norm are those before the update, means over supervised tokens. */
  readonly Step: {
    readonly step: number
    readonly loss: number
    readonly gradNorm: number
    readonly learningRate: number
    /** Tokens that went through the model, supervised or not. */
    readonly tokens: number
    readonly tokensPerSecond: number
  }
  /** Instead of a Step: the loss was finite and its gradient was not, so that nothing was changed. */
  readonly Skipped: {
    readonly step: number
    readonly loss: number
    readonly gradNorm: number
    /** As in NotFinite. */
    readonly rows: ReadonlyArray<string>
  }
  /** After a Step, where the optimiser's state pages. */
  readonly Paging: PageTraffic & { readonly step: number }
  readonly Eval: { readonly step: number; readonly loss: number; readonly tokens: number }
  readonly Checkpoint: { readonly step: number; readonly path: string }
  readonly Done: {
    readonly steps: number
    readonly interrupted: boolean
    readonly peakBytes: number
    readonly plannedBytes: number
  }
}>
export const TrainEvent = Data.taggedEnum<TrainEvent>()
