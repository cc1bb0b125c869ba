/** What a run writes (its checkpoints, and optimiser state that spills), and whether the machine has room for it. */
import { totalmem } from "node:os"
import { OutOfMemory, type TrainEvent } from "@graft/core"
import { type Need, requireSpace } from "@graft/safetensors"
import { checkpointNeed } from "@graft/trainer"
import { Effect } from "effect"
import { type SpillInput, spillOf } from "./optimizerLayer.ts"
import type { Way } from "./Way.ts"

type Plan = Extract<TrainEvent, { readonly _tag: "Plan" }>

/** `folder`: the run's. */
export const diskNeeds = (
  disk: Plan["disk"],
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
  "make room, name a folder on another disk (--out, --spill-folder, --prepared, HF_HOME for what is fetched), or save less often (--save-every)"

/** Fails with NotEnoughDisk. */
export const requireDisk = (needs: ReadonlyArray<Need>) => requireSpace(needs, CURE)

interface PlannedRun {
  readonly input: SpillInput & { readonly backend: string }
  readonly way: Pick<Way, "optimizer" | "optimizerMemory">
  readonly folder: string
}
/** Asks memory and disk for what is planned and for `before`, what is written before the run. Fails with OutOfMemory, NotEnoughDisk. */
export const requireFit = Effect.fnUntraced(function* (
  { memory, disk }: Pick<Plan, "memory" | "disk">,
  before: ReadonlyArray<Need | undefined>,
  { input, way, folder }: PlannedRun
) {
  const [wantedBytes, availableBytes] = [memory.peakBytes, totalmem()]
  // Other devices have memory of their own, and say so when they are opened.
  if (input.backend === "cpu" && wantedBytes > availableBytes)
    return yield* new OutOfMemory({ device: "cpu", wantedBytes, availableBytes })
  const needs = before.filter((need) => need !== undefined)
  yield* requireDisk([...needs, ...(yield* diskNeeds(disk, input, way, folder))])
})
