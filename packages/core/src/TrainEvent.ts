/** What a run tells. Progress bars, metrics files and reports are consumers of this one stream. */
import { Data } from "effect"
import type { Category } from "./Allocator.ts"
import type { NotFinite } from "./errors.ts"
import type { MemoryPlan } from "./MetaQueue.ts"
import type { PageTraffic } from "./Optimizer.ts"

/** Which adapter of a sweep an event is about; absent where one is trained. */
interface OfVariant {
  readonly variant?: string
}
type Numbers<Names extends string> = { readonly [Name in Names]: number }
export type TrainEvent = Data.TaggedEnum<{
  /** Before anything is read: which parts are in use and what the run takes. */
  readonly Plan: {
    readonly parts: ReadonlyArray<string>
    readonly memory: MemoryPlan
    /** Bytes live in the course of a step of the first shape, by category, at moments in order. */
    readonly memoryOverStep: ReadonlyMap<Category, ReadonlyArray<number>>
    readonly trainableParameters: number
    /** Of a checkpoint its state, the optimiser's within it, and the adapter's files at most; and how often one is written. */
    readonly disk: Numbers<"stateBytes" | "optimizerBytes" | "fileBytes" | "saves">
    readonly steps: number
    readonly stepsPerEpoch: number
    /** The names of the adapters of a sweep; none where one is trained. */
    readonly variants: ReadonlyArray<string>
    readonly compute: string
    readonly opsPerStep: number
    /** Which implementation runs for each op of a step, in the order of first use: a layer's, or "core". */
    readonly implementations: ReadonlyArray<{ readonly op: string; readonly implementation: string }>
    /** Those that a layer replaced, used or not. */
    readonly overrides: ReadonlyArray<{ readonly op: string; readonly implementation: string }>
  }
  readonly Load: { readonly path: string; readonly bytes: number; readonly loadedBytes: number }
  /** Goes on from a checkpoint. */
  readonly Resume: { readonly step: number }
  /** Within a step: the share of its commands that have run. */
  readonly Progress: { readonly step: number; readonly fraction: number }
  /** Loss and gradient norm are those before the update, means over supervised tokens; tokens are all that went through. */
  readonly Step: OfVariant & Numbers<"step" | "loss" | "gradNorm" | "learningRate" | "tokens" | "tokensPerSecond">
  /** Instead of a Step: nothing was changed, since the gradient was not finite, or the loss was a spike or not finite. */
  readonly Skipped: OfVariant & Numbers<"step" | "loss" | "gradNorm"> & Pick<NotFinite, "rows" | "limit">
  /** After a Step, where the optimiser's state pages. */
  readonly Paging: PageTraffic & OfVariant & { readonly step: number }
  /** After a Step, where frozen weights stream. */
  readonly Streaming: PageTraffic & { readonly step: number }
  /** Held-out rows; accuracy is the share of supervised tokens that the model ranks first. */
  readonly Eval: OfVariant & Numbers<"step" | "loss" | "perplexity" | "accuracy" | "tokens">
  /** What the model says to a prompt now. */
  readonly Sample: OfVariant & { readonly step: number; readonly prompt: string; readonly text: string }
  /** What a person should know and what did not end the run: a damaged checkpoint, a skipped step. */
  readonly Warning: OfVariant & { readonly step: number; readonly message: string }
  /** `best`: the held-out loss of the best adapter so far, where this is it. */
  readonly Checkpoint: OfVariant & { readonly step: number; readonly path: string; readonly best?: number }
  /** The flight recorder's record of one step: each op with a 64-bit hash of its outputs, in hexadecimal, in order. */
  readonly Flight: { readonly step: number; readonly ops: ReadonlyArray<readonly [op: string, hash: string]> }
  readonly Done: {
    readonly steps: number
    readonly interrupted: boolean
    /** Why it ended before its last step, where nobody stopped it: early stopping. */
    readonly early?: string
    readonly peakBytes: number
    readonly plannedBytes: number
  }
}>
export const TrainEvent = Data.taggedEnum<TrainEvent>()
