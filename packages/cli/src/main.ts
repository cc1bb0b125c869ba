#!/usr/bin/env node
import { runGraft } from "./runGraft.ts"

// `graft inspect … | head` closes the pipe: what reads it has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0)
  throw error
})
process.exitCode = await runGraft(process.argv.slice(2))
