/** What a trainer is to whoever runs one: a stream of events. The loop behind it is a package of its own. */
import { Context, type Effect, type Stream } from "effect"
import type {
  BadStack,
  CheckpointError,
  DeviceError,
  LoadError,
  NotFinite,
  OutOfMemory,
  UnusedParts
} from "./errors.ts"
import type { TrainEvent } from "./TrainEvent.ts"

export type TrainError = UnusedParts | BadStack | OutOfMemory | LoadError | DeviceError | NotFinite | CheckpointError

export interface Training {
  readonly run: Stream.Stream<TrainEvent, TrainError>
  /** The plan alone: nothing is read, nothing is run. */
  readonly plan: Effect.Effect<Extract<TrainEvent, { readonly _tag: "Plan" }>, TrainError>
  /** Ends a run in progress: the step under way is dropped, the adapter as of the last update is saved. */
  readonly stop: Effect.Effect<void>
}

export class Trainer extends Context.Service<Trainer, Training>()("@graft/core/Trainer") {}
