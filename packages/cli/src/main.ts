#!/usr/bin/env node
import * as nodeModule from "node:module"
import { keptHelp } from "./keptHelp.ts"

// Node from 22 on keeps what it has compiled for the next start. Others have no such call.
nodeModule.enableCompileCache?.()
// `graft inspect … | head` closes the pipe: what reads it has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0)
  throw error
})
const args = process.argv.slice(2)
const help = keptHelp(args, process.stdout.isTTY === true && !process.env.NO_COLOR)
if (help !== undefined) console.log(help)
else {
  const { runGraft } = await import("./runGraft.ts")
  process.exitCode = await runGraft(args)
}
