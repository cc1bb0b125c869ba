/**
 * A training step of a 7B-shaped layer: `graft bench --composed` as results with processor and commit, in bench/results and
 * docs/benchmarks.md.
 */
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { writeReport } from "./measure/report.ts"
import { type LayerRow, writeResults } from "./measure/results.ts"

const main = fileURLToPath(new URL("../packages/cli/src/main.ts", import.meta.url))
const text = execFileSync(process.execPath, [main, "bench", "--composed", "--json"], { encoding: "utf8" })
const events = text
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as LayerRow & { readonly event: string }) // graft bench's own lines
writeResults(
  "step",
  events.filter(({ event }) => event === "Layer")
)
writeReport()
console.log(text)
