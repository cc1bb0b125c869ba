/** Whether a folder can be written to, found out before hours of work rather than after. */
import { mkdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"

/** Makes the folder. What was made and is still empty when the scope closes goes again. */
export const requireWritable = (folder: string) =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.try({
        try: () => {
          const made = mkdirSync(folder, { recursive: true })
          const probe = join(folder, `.graft-${process.pid}.probe`)
          try {
            writeFileSync(probe, "x")
          } finally {
            rmSync(probe, { force: true })
          }
          return made
        },
        catch: (cause) => fileError(folder, "write", cause)
      }),
      (made) => Effect.sync(() => made !== undefined && removeEmpty(folder, made))
    )
  )

/** From `folder` up to `last`, as long as they are empty. */
const removeEmpty = (folder: string, last: string): void => {
  try {
    rmdirSync(folder)
  } catch {
    return // holds something
  }
  if (relative(last, folder) !== "") removeEmpty(dirname(folder), last)
}
