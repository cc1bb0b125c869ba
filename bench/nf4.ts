/**
 * 4-bit weights: quantising, dequantising, and the linear operator, each beside what the machine could do in the same
 * seconds: the copy or read bandwidth, or the register-only multiply-add peak. Shapes of Llama-2-7b. Best of the rounds.
 * With GRAFT_PYTHON naming a Python that has bitsandbytes, its rates on as many threads stand beside.
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { type ActivationDType, fill, Scope, sourceOf, type Weight } from "@graft/core"
import { doubleQuant, quantizeScales } from "@graft/double-quant"
import { fourBitCodec, fp4, nameTensor, nf4, plainScales, quantizeKernels } from "@graft/nf4-quant"
import { figureLines } from "./measure/lines.ts"

const native = loadNative()
const info = native.info()
const ROUNDS = 7
const figures = figureLines("nf4")
const [out, inner] = [4096, 4096]
const elements = out * inner

const peakOf = (dtype: ActivationDType, threads: number): number => {
  const own = `${dtype}.${info.isa}`
  return native.peak(info.peaks.includes(own) ? own : `f32.${info.isa.replace("bf16", "")}`, threads, 80)
}
const seconds = async (queue: CpuQueue, body: () => void): Promise<number> => {
  body()
  await queue.idle()
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const at = performance.now()
    body()
    await queue.idle()
    best = Math.min(best, (performance.now() - at) / 1000)
  }
  return best
}
/** What bitsandbytes does: by the names that oracles/python/nf4_rates.py gives. */
const theirRates = (threads: number): Readonly<Record<string, number>> => {
  const python = process.env["GRAFT_PYTHON"]
  if (python === undefined) return {}
  const script = fileURLToPath(new URL("../oracles/python/nf4_rates.py", import.meta.url))
  const env = {
    ...process.env,
    MALLOC_MMAP_MAX_: "0",
    MALLOC_TRIM_THRESHOLD_: "100000000000",
    MALLOC_TOP_PAD_: "268435456"
  }
  const run = spawnSync(python, [script, String(threads)], { env, encoding: "utf8" })
  if (run.status !== 0) throw new Error(`${script} failed: ${run.stderr.slice(-500)}`)
  return JSON.parse(run.stdout)
}

console.log(`${info.model}, ${info.isa}, ${info.cores} cores; W [${out}, ${inner}]`)
for (const threads of process.env["GRAFT_THREADS"] ? [Number(process.env["GRAFT_THREADS"])] : [1, info.cores]) {
  const theirs = theirRates(threads)
  const beside = (rate: number, name: string): { readonly note?: string } =>
    theirs[name] === undefined ? {} : { note: `${(rate / theirs[name]).toPrecision(2)} × bitsandbytes` }
  const queue = new CpuQueue(native, [2 ** 29], cpuLimits(info, threads), { threads, isa: info.isa })
  // Other work on the machine only ever lowers a bandwidth.
  const memory = { read: 0, copy: 0 }
  const measureMemory = (): void => {
    const now = native.bandwidth(threads, 100)
    memory.read = Math.max(memory.read, now.read)
    memory.copy = Math.max(memory.copy, now.copy)
  }
  measureMemory()
  {
    // The first weight has the native bodies of both packages loaded.
    using scope = new Scope(queue, "weights")
    const small = sourceOf("small", [1, 64], () => new Float32Array(64))
    fourBitCodec(nf4, doubleQuant, 64).encode(small, scope, "small")
  }
  for (const codebook of [nf4, fp4] as const) {
    for (const dtype of ["f32", "bf16", "f16"] as const) {
      using scope = new Scope(queue, "weights")
      const x = scope.tensor([elements], "x", dtype)
      const packed = scope.tensor([elements / 2], "packed", "u8")
      const absmax = scope.tensor([elements / 64], "absmax")
      const label = nameTensor(queue, scope, "w")
      queue.upload(x, () => Float32Array.from({ length: elements }, (_, i) => Math.sin(i * 12.9898) * (1 + (i & 1023))))
      const body = () =>
        queue.enqueue(quantizeKernels[codebook.name], [packed, absmax, x, label], { block: 64, columns: inner })
      const rate = elements / (await seconds(queue, body))
      const what = `quantise from ${dtype}, ${codebook.name}`
      figures.add({
        threads,
        what,
        value: rate,
        unit: "G/s",
        digits: 2,
        ...beside(rate, `quantise ${dtype} ${codebook.name}`)
      })
    }
  }
  {
    using scope = new Scope(queue, "weights")
    const n = 6_000_000
    const scales = scope.tensor([n], "scales")
    queue.upload(scales, () => Float32Array.from({ length: n }, (_, i) => 0.02 + 0.01 * Math.sin(i * 12.9898)))
    const codes = scope.tensor([n], "codes", "u8")
    const [nested, offset] = [scope.tensor([Math.ceil(n / 256)], "nested"), scope.tensor([1], "offset")]
    const time = await seconds(queue, () => queue.enqueue(quantizeScales, [codes, nested, offset, scales], null))
    figures.add({ threads, what: "double quantization of 6 M scales", value: time, unit: "ms", digits: 1 })
  }
  for (const [codebook, scales] of [
    [nf4, plainScales],
    [nf4, doubleQuant]
  ] as const) {
    const name = `${codebook.name}, ${scales.name} scales`
    using kept = new Scope(queue, "weights")
    // Uneven values: a table of them is enough.
    const table = Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i * 12.9898) * Math.cos(i * 78.233))
    const values = () => Float32Array.from({ length: elements }, (_, i) => table[(i * 7) & 4095]! * (1 + (i & 1023)))
    const weight: Weight = fourBitCodec(codebook, scales, 64).encode(
      sourceOf("w", [out, inner], values, "bf16"),
      kept,
      "w"
    )
    for (const dtype of ["bf16", "f32"] as const) {
      using scope = new Scope(queue, "activations")
      const dense = scope.tensor([out, inner], "W", dtype)
      const rate = elements / (await seconds(queue, () => weight.dequantizeRows(dense, 0)))
      measureMemory()
      const bytes = weight.bytes / elements + (dtype === "bf16" ? 2 : 4)
      const what = `dequantise to ${dtype}, ${name}`
      const share = (rate * bytes) / memory.copy
      figures.add({
        threads,
        what,
        value: rate,
        unit: "G/s",
        digits: 2,
        share,
        of: "copying",
        ...beside(rate, `dequantise ${dtype}`)
      })
    }
    for (const dtype of ["f32", "bf16"] as const) {
      for (const tokens of [1, 2, 4, 8, 64, 512]) {
        using scope = new Scope(queue, "activations")
        const [x, y] = [scope.tensor([tokens, inner], "x", dtype), scope.tensor([tokens, out], "y", dtype)]
        queue.enqueue(fill, [x], { value: 0.5 })
        for (const [direction, body] of [
          ["y = xWᵀ", () => weight.apply(y, x)],
          ["dx = dyW", () => weight.applyTransposed(x, y)]
        ] as const) {
          const before = peakOf(dtype, threads)
          const time = await seconds(queue, body)
          const rate = (2 * tokens * elements) / time
          const peak = Math.max(before, peakOf(dtype, threads))
          const what = `${direction}, ${tokens} tokens ${dtype}, ${name}`
          if (tokens === 1) {
            measureMemory()
            const row = theirs[`row ${dtype}`]
            const note =
              row === undefined || direction !== "y = xWᵀ"
                ? {}
                : { note: `${(row / 1e3 / time).toPrecision(2)} × bitsandbytes` }
            const value = weight.bytes / time
            figures.add({
              threads,
              what,
              value,
              unit: "GB/s",
              digits: 1,
              share: value / memory.read,
              of: "reading",
              ...note
            })
          } else {
            const name = `${direction === "y = xWᵀ" ? "forward" : "backward"} ${dtype}`
            const note = tokens === 512 ? beside(rate, name) : {}
            figures.add({
              threads,
              what,
              value: rate,
              unit: "GFLOP/s",
              digits: 0,
              share: rate / peak,
              of: "peak",
              ...note
            })
          }
        }
      }
    }
  }
  figures.add({ threads, what: "memory, read", value: memory.read, unit: "GB/s", digits: 1 })
  figures.add({ threads, what: "memory, copied: read and written", value: memory.copy, unit: "GB/s", digits: 1 })
  await queue.close()
}
figures.write()
