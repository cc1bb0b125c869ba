/** What the checkpoints of a run take on the disk besides what lies there already. */
import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import type { Need } from "@graft/safetensors"
import { Effect } from "effect"
import { CHECKPOINTS } from "./checkpointFolders.ts"

export interface CheckpointSizes {
  /** Bytes of state in one checkpoint. */
  readonly stateBytes: number
  /** Bytes of the files beside it. */
  readonly fileBytes: number
  readonly saves: number
}

/** Names, manifests, and what else a run writes: its metrics, its report. */
const BESIDE = 2 ** 20

/** At most as many states lie in the folder at one time as it has names for. */
export const checkpointNeed = (
  folder: string,
  { stateBytes, fileBytes, saves }: CheckpointSizes
): Effect.Effect<Need> =>
  Effect.promise(async () => {
    const sizes = await Promise.all(CHECKPOINTS.map((name) => bytesUnder(join(folder, name))))
    const there = sizes.reduce((sum, bytes) => sum + bytes, 0)
    const states = Math.min(CHECKPOINTS.length, saves) * stateBytes
    return { path: folder, bytes: BESIDE + fileBytes + Math.max(stateBytes, states - there), what: "the checkpoints" }
  })

const bytesUnder = async (folder: string): Promise<number> => {
  const names = await readdir(folder).catch(() => [])
  const sizes = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => undefined)))
  return sizes.reduce((sum, found) => sum + (found?.size ?? 0), 0)
}
