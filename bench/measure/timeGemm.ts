import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { type ActivationDType, denseCodec, fill, Scope, sourceOf } from "@graft/core"

export interface GemmTiming {
  readonly tokens: number
  readonly in: number
  readonly out: number
  readonly dtype: ActivationDType
  readonly threads: number
  readonly rounds: number
  /** dx = dy W instead of y = x Wᵀ. */
  readonly transposed?: boolean
}

/** Seconds of a product by a frozen dense weight, the best of the rounds. */
export const timeGemm = async (timing: GemmTiming): Promise<number> => {
  const { tokens, in: inner, out, dtype, threads, rounds, transposed = false } = timing
  const native = loadNative()
  const info = native.info()
  const bytes = 8 * (tokens * (inner + out) + inner * out) + 2 ** 20
  const queue = new CpuQueue(native, [bytes], cpuLimits(info, threads), { threads, isa: info.isa })
  const scope = new Scope(queue, "activations")
  const x = scope.tensor([tokens, inner], "x", dtype)
  const y = scope.tensor([tokens, out], "y", dtype)
  for (const t of [x, y]) queue.enqueue(fill, [t], { value: 0.5 })
  const values = () => new Float32Array(out * inner).fill(0.25)
  const weight = denseCodec().encode(sourceOf("w", [out, inner], values, dtype), scope, "w")
  const run = () => (transposed ? weight.applyTransposed(x, y) : weight.apply(y, x))
  run()
  await queue.idle()
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < rounds; round++) {
    const at = performance.now()
    run()
    await queue.idle()
    best = Math.min(best, (performance.now() - at) / 1000)
  }
  scope[Symbol.dispose]()
  await queue.close()
  return best
}
