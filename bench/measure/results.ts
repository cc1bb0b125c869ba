/** Results as files: what was measured, on which processor, at which commit. docs/benchmarks.md is made from them. */
import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { loadavg } from "node:os"
import { fileURLToPath } from "node:url"
import { loadNative } from "@graft/backend-cpu"

const folder = fileURLToPath(new URL("../results/", import.meta.url))

export interface Machine {
  readonly processor: string
  readonly isa: string
  readonly cores: number
  readonly memoryBytes: number
  readonly runtime: string
  /** Load average at the end: well above the benches' own threads, others were using the machine. */
  readonly load: number
  readonly commit: string
  readonly date: string
}
export const machine = (): Machine => {
  const { model, isa, cores, memoryBytes } = loadNative().info()
  const git = (...args: ReadonlyArray<string>) => execFileSync("git", args, { encoding: "utf8", cwd: folder }).trim()
  mkdirSync(folder, { recursive: true })
  const changed = git("status", "--porcelain", "--untracked-files=no", ".", "../../packages") !== ""
  return {
    processor: model,
    isa,
    cores,
    memoryBytes,
    runtime: process.versions.bun === undefined ? `Node ${process.versions.node}` : `Bun ${process.versions.bun}`,
    load: Number((loadavg()[0] ?? 0).toFixed(1)),
    commit: `${git("rev-parse", "--short", "HEAD")}${changed ? " with changes" : ""}`,
    date: new Date().toISOString().slice(0, 16)
  }
}
export interface Results<Row> {
  readonly machine: Machine
  readonly rows: ReadonlyArray<Row>
}
export const writeResults = <Row>(name: string, rows: ReadonlyArray<Row>): void => {
  mkdirSync(folder, { recursive: true })
  const results: Results<Row> = { machine: machine(), rows }
  const partial = `${folder}${name}.json.partial`
  writeFileSync(partial, `${JSON.stringify(results, null, 1)}\n`)
  renameSync(partial, `${folder}${name}.json`)
}
/** What was last written under this name, or undefined; its rows are whatever the bench of that name writes. */
export const readResults = <Row>(name: string): Results<Row> | undefined => {
  try {
    return JSON.parse(readFileSync(`${folder}${name}.json`, "utf8")) as Results<Row> // written above
  } catch {
    return undefined
  }
}
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

/** A line of `graft bench`. */
export interface LayerRow {
  readonly weights: string
  readonly ops: string
  readonly threads: number
  readonly tokens: number
  readonly isa: string
  readonly compute: string
  readonly tokensPerSecond: number
  readonly rate: number
  readonly peak: number
  readonly elseShare: number
  readonly enqueueShare: number
  readonly bytes: number
  readonly numbers: ReadonlyArray<number>
}
