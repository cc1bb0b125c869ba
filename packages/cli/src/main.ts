#!/usr/bin/env node
import * as nodeModule from "node:module"

// Node from 22 on keeps what it has compiled for the next start. Others have no such call.
nodeModule.enableCompileCache?.()
// `graft inspect … | head` closes the pipe: what reads it has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0)
  throw error
})
const { runGraft } = await import("./runGraft.ts")
process.exitCode = await runGraft(process.argv.slice(2))
