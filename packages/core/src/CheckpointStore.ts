/** Where a run keeps its adapter and what it needs to go on; nowhere, unless a layer says otherwise. */
import { Context, Effect } from "effect"
import type { SavedFile } from "./Adapter.ts"
import type { CheckpointError } from "./errors.ts"
import type { StatePiece } from "./Optimizer.ts"
import type { Part } from "./Parts.ts"

/** What must be the same for a run to go on; hashed apart, so that a refusal names what differs. */
export interface RunIdentity {
  readonly model: string
  readonly data: string
  readonly recipe: string
  /** What of the recipe has a name: compared by nobody, told where the recipes differ. */
  readonly options?: Readonly<Record<string, unknown>>
}
/** Where a run stands. `progress` is the trainer's own, as plain JSON: data position, random counter, early stopping. */
export interface RunPosition {
  readonly step: number
  readonly progress: Readonly<Record<string, unknown>>
}
export interface CheckpointStore {
  readonly part?: Part["part"]
  /** Fails where there is no room for so many saves, each with so many bytes of state and of files. */
  readonly requireRoom?: (state: number, files: number, saves: number) => Effect.Effect<void, CheckpointError>
  /** Writes files and state; returns where. Undefined: nothing is kept. */
  readonly save: (
    checkpoint: RunPosition & {
      readonly identity: RunIdentity
      readonly files: ReadonlyArray<SavedFile>
      readonly pieces: ReadonlyArray<StatePiece>
    }
  ) => Effect.Effect<string | undefined, CheckpointError>
  /** Keeps files under a name of their own beside the state, as the best adapter so far. */
  readonly keep: (name: string, files: ReadonlyArray<SavedFile>) => Effect.Effect<string | undefined, CheckpointError>
  /** Puts the state of the last whole checkpoint back; step 0 if there is none. Warnings say which were damaged. */
  readonly restore: (
    identity: RunIdentity,
    pieces: ReadonlyArray<StatePiece>
  ) => Effect.Effect<RunPosition & { readonly warnings: ReadonlyArray<string> }, CheckpointError>
}
export const CheckpointStore: Context.Reference<CheckpointStore> = Context.Reference<CheckpointStore>(
  "@graft/core/CheckpointStore",
  {
    defaultValue: () => ({
      save: () => Effect.succeed(undefined),
      keep: () => Effect.succeed(undefined),
      restore: () => Effect.succeed({ step: 0, progress: {}, warnings: [] })
    })
  }
)
