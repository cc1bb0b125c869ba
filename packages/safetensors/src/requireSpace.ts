/** What a disk has room for, asked before anything is written to it. */
import { existsSync, statfsSync, statSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { Context, Effect, Schema } from "effect"

export class NotEnoughDisk extends Schema.TaggedError<NotEnoughDisk>()("NotEnoughDisk", {
  message: Schema.String,
  /** Where it was to be written. */
  path: Schema.String,
  neededBytes: Schema.Number,
  freeBytes: Schema.Number
}) {}

/** Something that is to be written. */
export interface Need {
  readonly path: string
  /** Besides what lies there already. */
  readonly bytes: number
  /** As in "the checkpoints". */
  readonly what: string
}

/** The folder that is there already on the way to `path`. */
const existing = (path: string): string => {
  let folder = resolve(path)
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder)
  return folder
}
const freeBytes = (path: string): number | undefined => {
  try {
    const { bavail, bsize } = statfsSync(existing(path))
    return Number(bavail) * Number(bsize)
  } catch {
    return undefined
  }
}
/** Paths of one disk have one number. */
const diskOf = (path: string): number | undefined => {
  try {
    return statSync(existing(path)).dev
  } catch {
    return undefined
  }
}

/** Who tells how much room there is on the disk of a path, in bytes: the system, unless a test does. Undefined where it does not tell. */
export class FreeSpace extends Context.Reference<(path: string) => number | undefined>("@graft/safetensors/FreeSpace", {
  defaultValue: () => freeBytes
}) {}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
const sized = (bytes: number): string => {
  const power = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3))
  const short = `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : power < 3 ? 1 : 2)} ${UNITS[power]}`
  return power === 0 ? short : `${short} (${Math.ceil(bytes).toLocaleString("en-US")} bytes)`
}

/**
 * Fails with NotEnoughDisk unless all of it can be written; what goes to one disk is added up. `cure` says what to do. Where a
 * system does not tell its room, writing will.
 */
export const requireSpace = (needs: ReadonlyArray<Need>, cure: string): Effect.Effect<void, NotEnoughDisk> =>
  Effect.gen(function* () {
    const freeAt = yield* FreeSpace
    const disks = new Map<number | undefined, Array<Need>>()
    for (const need of needs.filter(({ bytes }) => bytes > 0)) {
      const disk = diskOf(need.path)
      disks.set(disk, [...(disks.get(disk) ?? []), need])
    }
    for (const together of disks.values()) {
      const { path } = together[0]! // none is empty
      const [needed, free] = [together.reduce((sum, { bytes }) => sum + bytes, 0), freeAt(path)]
      if (free === undefined || free >= needed) continue
      const list = together.map(({ what, path: at, bytes }) => {
        const where = at === path ? "" : ` in ${at}`
        return together.length === 1 ? `${what}${where}` : `${what}${where}, ${sized(bytes)}`
      })
      return yield* new NotEnoughDisk({
        message: `${path}: ${sized(needed)} are to be written (${list.join("; ")}), and the disk has ${sized(free)} free; ${cure}`,
        path,
        neededBytes: needed,
        freeBytes: free
      })
    }
  })
