/** What a disk has room for, asked before anything is written to it. */
import { existsSync, statfsSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { Context, Effect, Schema } from "effect"
import { bytes, whole } from "../show/quantities.ts"

export class NotEnoughDisk extends Schema.TaggedError<NotEnoughDisk>()("NotEnoughDisk", {
  message: Schema.String,
  /** Where it was to be written. */
  path: Schema.String,
  neededBytes: Schema.Number,
  freeBytes: Schema.Number
}) {}

/** Of the disk on which `path` lies, or will lie; undefined where a system does not tell. */
const freeBytes = (path: string): number | undefined => {
  let folder = resolve(path)
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder)
  try {
    const { bavail, bsize } = statfsSync(folder)
    return Number(bavail) * Number(bsize)
  } catch {
    return undefined
  }
}

/** Who tells how much room there is: the system, unless a test does. */
export class FreeSpace extends Context.Reference<(path: string) => number | undefined>("@graft/cli/FreeSpace", {
  defaultValue: () => freeBytes
}) {}

/** `what` is to be written, `cure` what to do about it. Where a system does not tell, writing will. */
export const requireSpace = (path: string, neededBytes: number, what: string, cure: string) =>
  Effect.gen(function* () {
    const free = (yield* FreeSpace)(path)
    if (free === undefined || free >= neededBytes) return
    return yield* new NotEnoughDisk({
      message: `${path}: ${what} takes ${bytes(neededBytes)} (${whole(neededBytes)} bytes), and its disk has ${bytes(free)} (${whole(free)} bytes) free; ${cure}`,
      path,
      neededBytes,
      freeBytes: free
    })
  })
