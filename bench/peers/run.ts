/**
 * `bun run bench:peers`: Graft beside PEFT + bitsandbytes + PyTorch on this machine. Both sides are processes that stay and
 * do one step in turn, several rounds; a ratio is the median of the rounds' ratios, so that a machine whose clock moves, or
 * that is shared, bends both sides alike. --only NAMES, --rounds N, --threads N, --model FOLDER (SmolLM2-135M-Instruct as
 * Hugging Face has it), --python PATH (or GRAFT_PYTHON). Writes bench/results/peers.json and docs/benchmarks.md.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { loadNative } from "@graft/backend-cpu"
import { uniforms } from "@graft/core"
import { multipliesBF16 } from "../measure/peakOf.ts"
import { writeReport } from "../measure/report.ts"
import { median, readResults, writeResults } from "../measure/results.ts"
import {
  type Configuration,
  configurations,
  gemmShapes,
  type PeerRow,
  type SideArguments,
  tunedEnvironment
} from "./configurations.ts"
import { pythonOf } from "./environment.ts"
import { type Side, startSide } from "./side.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    model: { type: "string", default: process.env.GRAFT_SMOLLM2 ?? "" },
    python: { type: "string" }
  }
})
const names = ["gemm", ...configurations.map(({ name }) => name)]
/** Where the processor multiplies no bf16, torch's step in it takes minutes. */
const multipliesBf16 = loadNative().info().isa.endsWith("bf16")
const wanted = values.only?.split(",") ?? names.filter((name) => multipliesBf16 || !name.includes("-bf16"))
const unknown = wanted.filter((name) => !names.includes(name))
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(", ")}; names: ${names.join(", ")}`)
const rounds = Number(values.rounds)
const threads = Number(values.threads)
const python = pythonOf(values.python ?? process.env.GRAFT_PYTHON)
const here = fileURLToPath(new URL(".", import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "graft-peers-"))

const bothSides = async (
  args: SideArguments,
  env: Readonly<Record<string, string>>
): Promise<readonly [Side, Side]> => {
  const text = JSON.stringify(args)
  const graft = await startSide("Graft", [process.execPath, join(here, "graftSide.ts"), text])
  const peer = await startSide("peers", [python, join(here, "peft_side.py"), text], env)
  return [graft, peer]
}
/** Ids below both vocabularies, the same on both sides. */
const writeIds = (batch: number, tokens: number): string => {
  const path = join(folder, `ids-${batch}-${tokens}.json`)
  const draw = (step: number, row: number) => Array.from(uniforms(tokens, step, row), (u) => 3 + Math.floor(31_000 * u))
  writeFileSync(
    path,
    JSON.stringify(Array.from({ length: 4 }, (_, step) => Array.from({ length: batch }, (_, row) => draw(step, row))))
  )
  return path
}

const compare = async ({ name, tuned, model, ...shape }: Configuration): Promise<PeerRow> => {
  const { batch, tokens } = shape
  if (model === "smollm2" && values.model === "")
    throw new Error(`${name} needs --model, the folder of SmolLM2-135M-Instruct`)
  const args: SideArguments = {
    ...shape,
    model: model === "smollm2" ? values.model : null,
    threads,
    precision: tuned ? "medium" : "highest",
    ids: writeIds(batch, tokens)
  }
  const sides = await bothSides(args, tuned ? tunedEnvironment : {})
  const answers: Array<ReadonlyArray<Readonly<Record<string, unknown>>>> = []
  for (let round = 0; round <= rounds; round++) {
    const pair = [await sides[0].ask("step"), await sides[1].ask("step")]
    answers.push(pair)
    console.log(name, round === 0 ? "warm-up" : `round ${round}`, JSON.stringify(pair))
  }
  for (const side of sides) await side.end()
  const of = (side: 0 | 1, key: string) => answers.map((pair) => Number(pair[side]![key]))
  const [graft, peer] = [of(0, "seconds").slice(1), of(1, "seconds").slice(1)]
  return {
    name,
    rounds,
    threads,
    versions: sides[1].ready.versions,
    graftSeconds: median(graft),
    peerSeconds: median(peer),
    ratio: median(graft.map((seconds, i) => peer[i]! / seconds)),
    tokens: batch * tokens,
    graftBytes: Math.max(...of(0, "peakBytes")),
    peerBytes: Math.max(...of(1, "peakBytes")),
    plannedBytes: Number(sides[0].ready.plannedBytes),
    firstLosses: [of(0, "loss")[0]!, of(1, "loss")[0]!]
  }
}

const compareGemm = async (): Promise<ReadonlyArray<PeerRow>> => {
  const args: SideArguments = { ...configurations[0]!, model: "gemm", threads, precision: "highest", ids: "" }
  const [graft, peer] = await bothSides(args, tunedEnvironment)
  const rows: Array<PeerRow> = []
  const formats = multipliesBF16() ? (["f32", "bf16"] as const) : (["f32"] as const)
  for (const [dtype, shape] of formats.flatMap((dtype) => gemmShapes.map((shape) => [dtype, shape] as const))) {
    const product = JSON.stringify([...shape, dtype])
    const own: Array<readonly [graft: number, peer: number, share: number]> = []
    for (let round = 0; round < Math.max(5, rounds); round++) {
      const a = await graft.ask(product)
      const b = await peer.ask(product)
      const flops = 2 * shape[0] * shape[1] * shape[2]
      own.push([
        Number(a.seconds),
        Math.min(Number(b.oneDNN), Number(b.torch)),
        flops / Number(a.seconds) / Number(a.peak)
      ])
    }
    const row: PeerRow = {
      name: "gemm",
      rounds: own.length,
      threads,
      versions: peer.ready.versions,
      graftSeconds: median(own.map(([seconds]) => seconds)),
      peerSeconds: median(own.map(([, seconds]) => seconds)),
      ratio: median(own.map(([a, b]) => b / a)),
      peakShare: median(own.map(([, , share]) => share)),
      shape,
      dtype
    }
    console.log(JSON.stringify(row))
    rows.push(row)
  }
  for (const side of [graft, peer]) await side.end()
  return rows
}

try {
  for (const name of wanted) {
    const found = configurations.find((c) => c.name === name)
    const rows = found === undefined ? await compareGemm() : [await compare(found)]
    const others = (readResults<PeerRow>("peers")?.rows ?? []).filter((row) => row.name !== name)
    const all = [...others, ...rows].sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name))
    writeResults("peers", all)
  }
  writeReport()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
