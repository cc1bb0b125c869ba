/** `bun run quickstart`: installs, builds what is stale, then runs examples/quickstart. Imports only what needs no install. */
import { spawnSync } from "node:child_process"
import { root } from "./workspacePackages.ts"

/** On the terminal itself, so that progress is live. */
const step = (args: ReadonlyArray<string>): number =>
  spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }).status ?? 1

const installed = step(["install", "--frozen-lockfile"])
if (installed !== 0) process.exit(installed)
step(["run", "build:native"]) // without a compiler the example says so and runs on the reference backend
process.exit(step(["examples/quickstart/main.ts"]))
