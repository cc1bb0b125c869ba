/**
 * A training step of a 7B-shaped layer, of 512 and of 4,096 tokens, and with the lower instruction sets of the machine:
 * `graft bench` as results with processor and commit, in bench/results and docs/benchmarks.md.
 */
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { loadNative } from "@graft/backend-cpu"
import { writeReport } from "./measure/report.ts"
import { type LayerRow, writeResults } from "./measure/results.ts"

const main = fileURLToPath(new URL("../packages/cli/src/main.ts", import.meta.url))
const { isas, isa } = loadNative().info()
const lower = ["avx512", "avx2"].filter((name) => name !== isa && isas.includes(name))
const runs = [
  ["--composed", "--recomputed"],
  ["--tokens", "4096", "--recomputed"],
  ...lower.map((name) => ["--isa", name, "--recomputed"])
]
const rows = runs.flatMap((flags) => {
  const text = execFileSync(process.execPath, [main, "bench", ...flags, "--json"], { encoding: "utf8" })
  console.log(text)
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LayerRow & { readonly event: string }) // graft bench's own lines
    .filter(({ event }) => event === "Layer")
})
writeResults("step", rows)
writeReport()
