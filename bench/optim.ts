/**
 * Optimiser updates beside what the machine could do in the same seconds: its copy bandwidth, and with `--venv=FOLDER` what
 * PyTorch and bitsandbytes take from that Python environment. `--size=N` parameters (16 Mi). Best of the rounds, which go
 * through all of a table's lines before they begin anew, so that what disturbs one disturbs all.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { adamW, type MakeOptimizer, type OptimizerState, Scope } from "@graft/core"
import { adamWRule, lionRule, pagedOptimizer, SpillFolder, type StateOptions, sgdRule } from "@graft/paged-optim"
import { figureLines } from "./measure/lines.ts"

const { values } = parseArgs({
  options: { venv: { type: "string" }, size: { type: "string", default: String(2 ** 24) } },
  allowPositionals: true
})
const size = Number(values.size)
const ROUNDS = 9
const figures = figureLines("optim")
const native = loadNative()
const info = native.info()
const folder = mkdtempSync(join(tmpdir(), "graft-bench-"))
const spill = new SpillFolder(folder)

const group = { weightDecay: 0.01, groupFactors: {} }
const adam = { ...group, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
const rules = {
  AdamW: (state: StateOptions) => pagedOptimizer(adamWRule(adam), state),
  Lion: (state: StateOptions) => pagedOptimizer(lionRule({ ...group, beta1: 0.9, beta2: 0.99 }), state),
  SGD: (state: StateOptions) => pagedOptimizer(sgdRule({ ...group, momentum: 0.9 }), state)
}
interface Line {
  readonly name: string
  readonly make: MakeOptimizer
  /** Read and written for each parameter. */
  readonly bytes: number
}
const stateBytes = { 32: { 1: 4, 2: 8 }, 8: { 1: 1.015625, 2: 2.03125 } } as const
const unpaged = (name: keyof typeof rules, bits: 8 | 32): Line => ({
  name: `${name}, ${bits} bits`,
  make: rules[name]({ bits, min8BitSize: 4096 }),
  bytes: 12 + 2 * stateBytes[bits][name === "AdamW" ? 2 : 1]
})
const paged = (bits: 8 | 32, share: number): Line => {
  const total = size * stateBytes[bits][2]
  const residentBytes = Math.ceil(share * total)
  const pageBytes = Math.min(2 ** 22, Math.floor(residentBytes / 16 / 4096) * 4096)
  return {
    name: `AdamW, ${bits} bits, paged, ${share >= 1 ? "all" : `${Math.round(100 * share)} %`} resident`,
    make: rules.AdamW({ bits, min8BitSize: 4096, paging: { residentBytes, pageBytes, spill } }),
    bytes: 12 + 2 * stateBytes[bits][2]
  }
}
const lines: ReadonlyArray<Line> = [
  { name: "AdamW of core, 32 bits", make: adamW(adam), bytes: 28 },
  unpaged("AdamW", 32),
  paged(32, 1),
  paged(32, 0.95),
  paged(32, 0.5),
  unpaged("AdamW", 8),
  paged(8, 1),
  paged(8, 0.95),
  paged(8, 0.5),
  unpaged("Lion", 32),
  unpaged("Lion", 8),
  unpaged("SGD", 32),
  unpaged("SGD", 8)
]
const measure = async (threads: number): Promise<ReadonlyMap<string, number>> => {
  const arena = lines.length * 9 * size + 2 ** 26
  const queue = new CpuQueue(native, [arena], cpuLimits(info, threads), { threads, isa: info.isa })
  const best = new Map<string, number>()
  const shared = new Scope(queue, "weights")
  const [flat, gradients] = ["w", "dw"].map((name) => shared.tensor([size], name)) as [
    ReturnType<Scope["tensor"]>,
    ReturnType<Scope["tensor"]>
  ] // map keeps the length
  const table = Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i * 12.9898) * Math.cos(i * 78.233))
  for (const t of [flat, gradients])
    queue.upload(t, () =>
      Float32Array.from({ length: size }, (_, i) => table[(i * 7) & 4095]! * (1e-3 + (i & 1023) * 1e-5))
    )
  const control = shared.tensor([4], "control")
  const range = { group: "all", decays: true, flat, gradients, parameters: [{ path: "w", start: 0, length: size }] }
  const copies: Array<number> = []
  const optimizers: Array<readonly [Line, OptimizerState]> = lines.map((line) => [
    line,
    line.make(queue, shared, [range])
  ])
  for (let round = -1; round < ROUNDS; round++) {
    copies.push(native.bandwidth(threads, 40).copy)
    for (const [{ name }, { update }] of optimizers) {
      queue.upload(control, () => [1, 1, round + 2, 1])
      await queue.idle()
      const since = performance.now()
      update(control, 1e-3)
      await queue.idle()
      const seconds = (performance.now() - since) / 1000
      if (round >= 0) best.set(name, Math.min(best.get(name) ?? Number.POSITIVE_INFINITY, seconds))
    }
  }
  const copy = Math.max(...copies)
  figures.add({ threads, what: "copying", value: copy, unit: "GB/s", digits: 1 })
  for (const { name, bytes } of lines) {
    const seconds = best.get(name)!
    const unpagedName = name.split(", paged")[0]!
    const note = unpagedName === name ? "" : `, ${(seconds / best.get(unpagedName)!).toFixed(3)} times unpaged`
    const value = (bytes * size) / seconds
    const milliseconds = `${(1000 * seconds).toFixed(2)} ms${note}`
    figures.add({
      threads,
      what: name,
      value,
      unit: "GB/s",
      digits: 1,
      share: value / copy,
      of: "copying",
      note: milliseconds
    })
  }
  for (const [{ name }, { traffic }] of optimizers) {
    if (traffic === undefined) continue
    const { faults, hits, bytesIn, bytesOut, stallSeconds } = await traffic()
    const each = (n: number) => (n / (ROUNDS + 1)).toFixed(1)
    console.log(
      `  ${name}: a step ${each(faults)} pages waited for, ${each(hits)} in time, ${each(bytesIn / 1e6)} MB in, ${each(bytesOut / 1e6)} MB out, ${each(1000 * stallSeconds)} ms stalled`
    )
  }
  await queue.close()
  return best
}

console.log(`${info.model}, ${info.isa}, ${info.cores} cores; pages of at most 4 MiB, their file in ${tmpdir()}`)
for (const threads of info.cores > 1 ? [1, info.cores] : [1]) {
  const best = await measure(threads)
  if (values.venv === undefined) continue
  const script = join(import.meta.dirname, "optimPeers.py")
  const printed = execFileSync(join(values.venv, "bin/python"), [script, `${size}`, `${threads}`, "3"], {
    encoding: "utf8"
  })
  const ours: Readonly<Record<string, string>> = {
    "torch AdamW": "AdamW, 32 bits",
    "torch AdamW, fused": "AdamW, 32 bits",
    "bitsandbytes AdamW8bit": "AdamW, 8 bits",
    "bitsandbytes Lion8bit": "Lion, 8 bits"
  }
  const theirs = JSON.parse(printed.split("\n").findLast((line) => line.startsWith("{"))!)
  for (const [what, seconds] of Object.entries(theirs)) {
    const note = `ours ${(Number(seconds) / best.get(ours[what]!)!).toFixed(1)} times as fast`
    figures.add({ threads, what, value: Number(seconds), unit: "ms", digits: 2, note })
  }
}
figures.write()
spill.close()
rmSync(folder, { recursive: true })
