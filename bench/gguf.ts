/**
 * Frozen weights in ggml's blocks: y = xWᵀ and dx = dyW of 512 tokens as a share of the register-only multiply-add peak of the
 * same seconds, and products of one token as bytes of W a second beside the read bandwidth. W [4096, 4096], f32. Best of the
 * rounds. `bun run bench gguf --Q5_K …` takes these formats only.
 */
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { fill, Scope } from "@graft/core"
import { blockFormats } from "@graft/gguf"
import { ggufCodec } from "@graft/gguf-quant"
import { randomBlocks } from "@graft/gguf-quant/randomBlocks"
import { figureLines } from "./measure/lines.ts"

const native = loadNative()
const info = native.info()
const figures = figureLines("gguf")
const ROUNDS = 7
const [out, inner] = [4096, 4096]
const asked = [...blockFormats.keys()].filter((name) => process.argv.includes(`--${name}`))
const formats = asked.length > 0 ? asked : ["Q4_0", "Q8_0", "Q4_K", "Q6_K"]
/** Seconds of processor time that this process has used: what others do on the machine does not count. */
const used = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
const onePeak = (threads: number): number => {
  const [at, before] = [performance.now(), used()]
  const rate = native.peak(`f32.${info.isa.replace("bf16", "")}`, threads, 80)
  return (rate * (performance.now() - at)) / 1000 / (used() - before)
}
/** Operations a second of one thread's processor time: the middle one of seven measurements. */
const peakOf = (threads: number): number => Array.from({ length: 7 }, () => onePeak(threads)).sort((a, b) => a - b)[3]!

/** Of one `body`, run `times` times: the processor's clock is too coarse for one token. */
const seconds = async (queue: CpuQueue, body: () => void, times: number): Promise<number> => {
  body()
  await queue.idle()
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const before = used()
    for (let i = 0; i < times; i++) body()
    await queue.idle()
    best = Math.min(best, used() - before)
  }
  return best / times
}

console.log(`${info.model}, ${info.isa}, ${info.cores} cores; W [${out}, ${inner}]`)
for (const threads of info.cores > 1 ? [1, info.cores] : [1]) {
  const queue = new CpuQueue(native, [2 ** 28], cpuLimits(info, threads), { threads, isa: info.isa })
  const peak = peakOf(threads)
  console.log(`${threads} threads: peak ${(peak / 1e9).toFixed(0)} GFLOP/s`)
  for (const format of formats) {
    using scope = new Scope(queue, "weights")
    // One row of blocks, over and over.
    const { blocks, ...row } = randomBlocks(format, 16, inner, 1)
    const [, bytes] = blocks!.source.shape
    const some = blocks!.source.read()
    const all = () => {
      const content = new Uint8Array(out * bytes!)
      for (let at = 0; at < content.length; at += some.length) content.set(some, at)
      return content
    }
    const packed = { ...blocks!.source, shape: [out, bytes!], read: all }
    const weight = ggufCodec().encode({ ...row, shape: [out, inner], blocks: { format, source: packed } }, scope, "w")
    for (const tokens of [512, 1]) {
      const [x, y] = [scope.tensor([tokens, inner], "x"), scope.tensor([tokens, out], "y")]
      queue.enqueue(fill, [x], { value: 0.5 })
      queue.enqueue(fill, [y], { value: 0.5 })
      for (const [direction, body] of [
        ["y = xWᵀ", () => weight.apply(y, x)],
        ["dx = dyW", () => weight.applyTransposed(x, y)]
      ] as const) {
        const time = await seconds(queue, body, tokens === 1 ? 64 : 1)
        const rate = (2 * tokens * out * inner) / time
        const what = `${format}, ${direction}, ${tokens} token${tokens === 1 ? "" : "s"}`
        const note = `${(time * 1e3).toFixed(2)} ms`
        if (tokens === 1) figures.add({ threads, what, value: weight.bytes / time, unit: "GB/s", digits: 1, note })
        else
          figures.add({ threads, what, value: rate, unit: "GFLOP/s", digits: 0, share: rate / peak, of: "peak", note })
      }
    }
  }
  await queue.close()
}
figures.write()
