/** What a run writes: its checkpoints, and optimiser state that spills. */
import type { TrainEvent } from "@graft/core"
import { type Need, requireSpace } from "@graft/safetensors"
import { checkpointNeed } from "@graft/trainer"
import { Effect } from "effect"
import { type SpillInput, spillOf } from "./optimizerLayer.ts"
import type { Way } from "./Way.ts"

export type PlannedDisk = Extract<TrainEvent, { readonly _tag: "Plan" }>["disk"]

/** `folder`: the run's. */
export const diskNeeds = (
  disk: PlannedDisk,
  input: SpillInput,
  { optimizer, optimizerMemory }: Pick<Way, "optimizer" | "optimizerMemory">,
  folder: string
): Effect.Effect<ReadonlyArray<Need>> =>
  Effect.map(checkpointNeed(folder, disk), (checkpoints) => {
    const spill = spillOf({ ...input, optimizer, optimizerMemory }, folder)
    const spills = spill !== undefined && disk.optimizerBytes > spill.residentBytes
    return [
      checkpoints,
      ...(spills ? [{ path: spill.spillFolder, bytes: disk.optimizerBytes, what: "the spill file" }] : [])
    ]
  })

const CURE =
  "make room, name a folder on another disk with --out (or --spill-folder, --prepared), or save less often with --save-every"

/** Fails with NotEnoughDisk. */
export const requireDisk = (needs: ReadonlyArray<Need>) => requireSpace(needs, CURE)
