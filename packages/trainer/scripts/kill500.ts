/** The test of real kills with 500 of them, or as many as the first word says: `bun packages/trainer/scripts/kill500.ts`. */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const kills = process.argv[2] ?? "500"
const file = fileURLToPath(new URL("../src/killed.test.ts", import.meta.url))
const { status } = spawnSync("bun", ["test", file, "--timeout", String(60_000 + 30_000 * Number(kills))], {
  stdio: "inherit",
  env: { ...process.env, GRAFT_KILLS: kills }
})
process.exitCode = status ?? 1
