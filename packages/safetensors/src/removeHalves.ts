/** What `replaceFile` leaves in a folder when its process is killed: gigabytes that nobody would look for. */
import { readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { Effect } from "effect"
import { type FileError, fileError } from "./FileError.ts"

const HALF = /\.[0-9a-f]{12}\.part$/

/** For a folder that this process alone writes to. */
export const removeHalves = (folder: string): Effect.Effect<void, FileError> =>
  Effect.tryPromise({
    try: async () => {
      for (const name of await readdir(folder)) if (HALF.test(name)) await rm(join(folder, name), { force: true })
    },
    catch: (cause) => fileError(folder, "write", cause)
  })
