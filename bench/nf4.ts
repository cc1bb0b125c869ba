/**
 * 4-bit weights: quantising, dequantising, and the linear operator, each beside what the machine could do in the same
 * seconds: the copy or read bandwidth, or the register-only multiply-add peak. Shapes of Llama-2-7b. Best of the rounds.
 */
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { type ActivationDType, fill, Scope, sourceOf, type Weight } from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import { fourBitCodec, fp4, nameTensor, nf4, plainScales, quantizeKernels } from "@graft/nf4-quant"

const native = loadNative()
const info = native.info()
const ROUNDS = 7
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
const line = (threads: number, what: string, figure: string, share: string): void =>
  console.log(`${String(threads).padStart(7)}  ${what.padEnd(46)}  ${figure.padStart(16)}  ${share}`)
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`

console.log(`${info.model}, ${info.isa}, ${info.cores} cores; W [${out}, ${inner}]`)
for (const threads of info.cores > 1 ? [1, info.cores] : [1]) {
  const queue = new CpuQueue(native, [2 ** 29], cpuLimits(info, threads), { threads, isa: info.isa })
  const { read, copy } = native.bandwidth(threads, 100)
  line(
    threads,
    "memory",
    `${(read / 1e9).toFixed(1)} GB/s read`,
    `${(copy / 1e9).toFixed(1)} GB/s copied, read and written`
  )
  for (const [codebook, scales] of [
    [nf4, plainScales],
    [nf4, doubleQuant],
    [fp4, doubleQuant]
  ] as const) {
    const name = `${codebook.name}, ${scales.name} scales`
    const kept = new Scope(queue, "weights")
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
      if (scales === plainScales) {
        const [packed, absmax] = [scope.tensor([elements / 2], "packed", "u8"), scope.tensor([elements / 64], "absmax")]
        const label = nameTensor(queue, scope, "w")
        weight.dequantizeRows(dense, 0)
        const flat = dense.range(0, [elements], "flat")
        const rate =
          elements /
          (await seconds(queue, () =>
            queue.enqueue(quantizeKernels[codebook.name], [packed, absmax, flat, label], { block: 64, columns: inner })
          ))
        line(threads, `quantise from ${dtype}, ${codebook.name}`, `${(rate / 1e9).toFixed(2)} G/s`, "")
      }
      const rate = elements / (await seconds(queue, () => weight.dequantizeRows(dense, 0)))
      const bytes = weight.bytes / elements + (dtype === "bf16" ? 2 : 4)
      line(
        threads,
        `dequantise to ${dtype}, ${name}`,
        `${(rate / 1e9).toFixed(2)} G/s`,
        `${percent((rate * bytes) / copy)} of copying`
      )
    }
    for (const dtype of ["f32", "bf16"] as const) {
      for (const tokens of [1, 4, 64, 512]) {
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
          if (tokens === 1)
            line(
              threads,
              what,
              `${(weight.bytes / time / 1e9).toFixed(1)} GB/s`,
              `${percent(weight.bytes / time / read)} of reading`
            )
          else line(threads, what, `${(rate / 1e9).toFixed(0)} GFLOP/s`, `${percent(rate / peak)} of peak`)
        }
      }
    }
    kept[Symbol.dispose]()
  }
  await queue.close()
}
