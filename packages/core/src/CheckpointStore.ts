/** Where a run keeps its adapter and what it needs to go on; nowhere, unless a layer says otherwise. */
import { Context, Effect } from "effect"
import type { SavedFile } from "./Adapter.ts"
import type { CheckpointError } from "./errors.ts"
import type { StatePiece } from "./Optimizer.ts"
import type { Part } from "./Parts.ts"

export interface CheckpointStore {
  readonly part?: Part["part"]
  /** Writes files and state; returns where. Undefined: nothing is kept. */
  readonly save: (checkpoint: {
    readonly step: number
    readonly fingerprint: string
    readonly files: ReadonlyArray<SavedFile>
    readonly pieces: ReadonlyArray<StatePiece>
  }) => Effect.Effect<string | undefined, CheckpointError>
  /** Puts the state of the last checkpoint back and returns its step; 0 if there is none. */
  readonly restore: (fingerprint: string, pieces: ReadonlyArray<StatePiece>) => Effect.Effect<number, CheckpointError>
}
export const CheckpointStore: Context.Reference<CheckpointStore> = Context.Reference<CheckpointStore>(
  "@graft/core/CheckpointStore",
  {
    defaultValue: () => ({ save: () => Effect.succeed(undefined), restore: () => Effect.succeed(0) })
  }
)
