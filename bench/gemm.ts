/**
 * Matrix products by a frozen weight, as a share of the register-only multiply-add peak measured in the same seconds: the
 * machine is shared and its clock moves, so a rate alone says little. Shapes are those of Llama-2-7b. Best of the rounds.
 */
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { type ActivationDType, denseCodec, fill, Scope, sourceOf } from "@graft/core"
import { figureLines } from "./measure/lines.ts"

const native = loadNative()
const info = native.info()
const ROUNDS = 7
const figures = figureLines("gemm")
const kindOf = (dtype: ActivationDType): string => {
  const own = `${dtype}.${info.isa}`
  return info.peaks.includes(own) ? own : `f32.${info.isa.replace("bf16", "")}`
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

console.log(`${info.model}, ${info.isa}, ${info.cores} cores`)
for (const threads of info.cores > 1 ? [1, info.cores] : [1]) {
  const queue = new CpuQueue(native, [2 ** 30], cpuLimits(info, threads), { threads, isa: info.isa })
  for (const [tokens, inner, out] of [
    [512, 4096, 4096],
    [512, 4096, 11008],
    [512, 11008, 4096],
    [64, 4096, 4096],
    [2048, 576, 1536]
  ] as const) {
    for (const dtype of ["f32", "bf16"] as const) {
      const scope = new Scope(queue, "activations")
      const x = scope.tensor([tokens, inner], "x", dtype)
      const y = scope.tensor([tokens, out], "y", dtype)
      queue.enqueue(fill, [x], { value: 0.5 })
      const values = () => new Float32Array(out * inner).fill(0.25)
      const weight = denseCodec().encode(sourceOf("w", [out, inner], values, dtype), scope, "w")
      for (const [direction, body] of [
        ["y = xWᵀ", () => weight.apply(y, x)],
        ["dx = dyW", () => weight.applyTransposed(x, y)]
      ] as const) {
        const before = native.peak(kindOf(dtype), threads, 80)
        const rate = (2 * tokens * inner * out) / (await seconds(queue, body))
        const peak = Math.max(before, native.peak(kindOf(dtype), threads, 80))
        const shape = `[${tokens}, ${inner}] · [${out}, ${inner}]`
        const what = `${shape}, ${dtype}, ${direction}`
        figures.add({ threads, what, value: rate, unit: "GFLOP/s", digits: 0, share: rate / peak, of: "peak" })
      }
      scope[Symbol.dispose]()
    }
  }
  await queue.close()
}
figures.write()
