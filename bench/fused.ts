/**
 * Memory, speed and numbers of every fused pair beside its composed twin: forward and backward on the same tensors, both
 * sides in turns, the best of the rounds. f32, and bf16 where the machine multiplies it. `--only=TEXT` measures the pairs
 * whose name or shape holds it and writes no results; GRAFT_THREADS gives the threads.
 */
import { parseArgs } from "node:util"
import { loadNative } from "@graft/backend-cpu"
import { peakOf } from "./measure/peakOf.ts"
import { writeReport } from "./measure/report.ts"
import { pairCells, pairHead } from "./measure/reportPairs.ts"
import { writeResults } from "./measure/results.ts"
import { attentionPairs } from "./pairs/attentionPairs.ts"
import { headPairs } from "./pairs/headPairs.ts"
import { loraPairs } from "./pairs/loraPairs.ts"
import { measurePair, type PairRow } from "./pairs/measurePair.ts"
import { rowPairs } from "./pairs/rowPairs.ts"
import { updatePair } from "./pairs/updatePair.ts"

const ROUNDS = 4
const { values } = parseArgs({ options: { only: { type: "string", default: "" } }, allowPositionals: true })
const native = loadNative()
const info = native.info()
const threads = Number(process.env["GRAFT_THREADS"] ?? info.cores)
const dtypes = info.isa.endsWith("bf16") ? (["bf16", "f32"] as const) : (["f32"] as const)

const all = [...loraPairs, ...rowPairs, ...attentionPairs, ...headPairs, updatePair]
const wanted = all.filter(({ pair, shape }) => `${pair}, ${shape}`.includes(values.only))
const rows: Array<PairRow> = []
console.log(pairHead.join("  "))
for (const one of wanted) {
  for (const compute of one === updatePair ? (["f32"] as const) : dtypes) {
    const limitOf = () => (one.flops === undefined ? native.bandwidth(threads, 20).copy : peakOf(compute, threads))
    const row = await measurePair(one, compute, threads, ROUNDS, limitOf)
    rows.push(row)
    console.log(pairCells(row).join("  "))
  }
}
if (values.only === "") {
  writeResults("fused", rows)
  writeReport()
}
