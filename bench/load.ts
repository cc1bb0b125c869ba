/**
 * What a start takes until its first step, as a user has it: `graft train --quantize nf4 --double-quant` in a process of its
 * own, over Llama-2-7b's shapes with some layers, the file out of the system's cache. Quantising while loading stands beside the
 * slower of reading the cold file (dd, direct) and quantising at the rate of `bench nf4`; a start from the prepared file beside
 * reading that one plus a second. `--layers=N` (4: 2.1 GB), `--folder=DIR` for the files (the temporary folder), which go.
 */
import { execFileSync, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { Scope } from "@graft/core"
import { fourBitLibrary, nameTensor, nf4, quantizeKernels } from "@graft/nf4-quant"
import { figureLines } from "./measure/lines.ts"

const { values } = parseArgs({
  options: { layers: { type: "string", default: "4" }, folder: { type: "string", default: tmpdir() } },
  allowPositionals: true
})
const graft = fileURLToPath(new URL("../packages/cli/src/main.ts", import.meta.url))
const figures = figureLines("load")
const native = loadNative()
const { isa, cores: threads } = native.info()

const seconds = (run: () => void): number => {
  const since = performance.now()
  run()
  return (performance.now() - since) / 1000
}
const weightsOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join(folder, name))
const bytesOf = (folder: string): number => weightsOf(folder).reduce((sum, path) => sum + statSync(path).size, 0)
/** The system's cache holds nothing of these files afterwards. */
const forget = (folder: string): void => {
  for (const path of weightsOf(folder))
    execFileSync("dd", [`if=${path}`, "iflag=nocache", "count=0"], { stdio: "ignore" })
}
const readByDd = (folder: string): number =>
  seconds(() => {
    for (const path of weightsOf(folder))
      execFileSync("dd", [`if=${path}`, "of=/dev/null", "bs=8M", "iflag=direct"], { stdio: "ignore" })
  })

/** Weights a second from bf16, as `bench nf4` measures them. */
const quantizeRate = async (): Promise<number> => {
  const elements = 4096 * 4096
  const queue = new CpuQueue(native, [2 ** 29], cpuLimits(native.info(), threads), { threads, isa })
  queue.useLibrary(fourBitLibrary)
  const scope = new Scope(queue, "weights")
  const x = scope.tensor([elements], "x", "bf16")
  const packed = scope.tensor([elements / 2], "packed", "u8")
  const absmax = scope.tensor([elements / 64], "absmax")
  const name = nameTensor(queue, scope, "w")
  queue.upload(x, () => Float32Array.from({ length: elements }, (_, i) => Math.sin(i * 12.9898)))
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 7; round++) {
    const at = performance.now()
    queue.enqueue(quantizeKernels[nf4.name], [packed, absmax, x, name], { block: 64, columns: 4096 })
    await queue.idle()
    best = Math.min(best, (performance.now() - at) / 1000)
  }
  await queue.close()
  return elements / best
}

interface Start {
  /** Of the process until the model's first tensor is there, its last, and the first step begins. */
  readonly first: number
  readonly loaded: number
  readonly stepping: number
  /** The prepared file's making, where it was made. */
  readonly prepared: number | undefined
}
const start = (...words: ReadonlyArray<string>) =>
  new Promise<Start>((resolve, reject) => {
    const since = performance.now()
    const now = (): number => (performance.now() - since) / 1000
    const child = spawn(process.execPath, [graft, "train", "--json", ...words], { stdio: ["ignore", "pipe", "pipe"] })
    let [first, loaded, stepping] = [0, 0, 0]
    let prepared: number | undefined
    let [rest, wrong] = ["", ""]
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        const event: Readonly<Record<string, unknown>> = JSON.parse(line)
        if (event["event"] === "Prepared" && event["reused"] === false) prepared = Number(event["seconds"])
        if (event["event"] === "Load") [first, loaded] = [first || now(), now()]
        if (event["event"] === "Step") stepping ||= now() - Number(event["tokens"]) / Number(event["tokensPerSecond"])
      }
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      wrong += text
    })
    child.on("error", reject)
    child.on("close", (code) =>
      code === 0 ? resolve({ first, loaded, stepping, prepared }) : reject(new Error(`graft train: ${code} ${wrong}`))
    )
  })

const work = mkdtempSync(join(values.folder, "graft-load-"))
try {
  const [dense, kept, rows, out] = ["dense", "prepared", "rows.jsonl", "out"].map((name) => join(work, name))
  mkdirSync(work, { recursive: true })
  writeFileSync(rows!, `${JSON.stringify({ text: "some words to learn from" })}\n`)
  execFileSync(process.execPath, [
    ...[graft, "synth", "--config", "llama-2-7b", "--layers", values.layers, "--dtype", "bf16", "--out", dense!]
  ])
  const run = ["--model", dense!, "--data", rows!, "--out", out!, "--quantize", "nf4", "--double-quant"]
  const short = ["--steps", "1", "--rank", "16"]
  const linears = Number(values.layers) * (4 * 4096 * 4096 + 3 * 4096 * 11_008)
  const rate = await quantizeRate()
  figures.add({ threads, what: "quantising from bf16", value: rate, unit: "G/s", digits: 2 })

  forget(dense!)
  const reading = readByDd(dense!)
  const size = bytesOf(dense!)
  figures.add({ threads, what: "dd of the dense file", value: size / reading, unit: "GB/s", digits: 2 })
  forget(dense!)
  const plain = await start(...run, ...short, "--prepared", "off")
  const limit = Math.max(reading, linears / rate)
  const took = plain.loaded - plain.first
  const beside = (least: number, taken: number): string => `${(taken / least).toFixed(2)} × ${least.toFixed(2)} s`
  const detail = ({ first, loaded, stepping }: Start): string =>
    `${first.toFixed(2)} s before the first tensor, ${(stepping - loaded).toFixed(2)} s after the last`
  figures.add({
    threads,
    what: `loading ${values.layers} layers, quantised on the way`,
    value: took,
    unit: "ms",
    digits: 0,
    note: `${beside(limit, took)}; ${detail(plain)}`
  })

  forget(dense!)
  const making = await start(...run, ...short, "--prepared", kept!)
  figures.add({ threads, what: "making the prepared file", value: making.prepared ?? 0, unit: "ms", digits: 0 })
  forget(kept!)
  const readingKept = readByDd(kept!)
  const sizeKept = bytesOf(kept!)
  figures.add({ threads, what: "dd of the prepared file", value: sizeKept / readingKept, unit: "GB/s", digits: 2 })
  forget(kept!)
  forget(dense!)
  const again = await start(...run, ...short, "--prepared", kept!)
  figures.add({
    threads,
    what: "a start from it, until the first step",
    value: again.stepping,
    unit: "ms",
    digits: 0,
    note: `${(again.stepping - readingKept).toFixed(2)} s beyond reading ${(sizeKept / 1e9).toFixed(2)} GB; ${detail(again)}`
  })
} finally {
  rmSync(work, { recursive: true, force: true })
}
figures.write()
