/** Whether a folder can be written to, found out before hours of work rather than after. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"

export const requireWritable = (folder: string) =>
  Effect.try({
    try: () => {
      mkdirSync(folder, { recursive: true })
      const probe = join(folder, `.graft-${process.pid}.probe`)
      try {
        writeFileSync(probe, "x")
      } finally {
        rmSync(probe, { force: true })
      }
    },
    catch: (cause) => fileError(folder, "write", cause)
  })
