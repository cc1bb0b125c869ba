/** A measured peak is a ceiling: no product of its format is faster in the same seconds. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import test from "node:test"
import { type ActivationDType, denseCodec, fill, Scope, sourceOf } from "@graft/core"
import { cpuLimits } from "./Cpu.ts"
import { CpuQueue } from "./CpuQueue.ts"
import { loadNative, nativePath } from "./native.ts"

/** Tokens and width; plain code is some fifty times slower. */
const sizesOf = (isa: string): readonly [number, number] => (isa === "scalar" ? [128, 512] : [512, 2048])
/** Of processor time a turn, on each side. */
const MILLISECONDS = 80
/** The best turn of each side counts, of three or of as many as the peak needs to be the better. */
const TURNS = 15
/** The clock moves between turns, and the system counts processor time in ticks. */
const SLACK = 1.1

/** Seconds that the threads of this process ran: those in which others had the processor do not count. */
const processorSeconds = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Operations a second of processor time of products y = x Wᵀ on one thread. */
const productOf = (dtype: ActivationDType, isa: string) => {
  const native = loadNative()
  const [tokens, width] = sizesOf(isa)
  const queue = new CpuQueue(native, [2 ** 26], cpuLimits(native.info(), 1), { threads: 1, isa })
  const scope = new Scope(queue, "activations")
  const [x, y] = [scope.tensor([tokens, width], "x", dtype), scope.tensor([tokens, width], "y", dtype)]
  queue.enqueue(fill, [x], { value: 0.5 })
  const values = () => new Float32Array(width * width).fill(0.25)
  const weight = denseCodec().encode(sourceOf("w", [width, width], values, dtype), scope, "w")
  const close = async () => {
    scope[Symbol.dispose]()
    await queue.close()
  }
  const rate = async () => {
    const since = processorSeconds()
    let products = 0
    for (let seconds = 0; seconds < MILLISECONDS / 1000; products++, seconds = processorSeconds() - since) {
      weight.apply(y, x)
      await queue.idle()
    }
    return (products * 2 * tokens * width * width) / (processorSeconds() - since)
  }
  return { rate, close }
}
const peakOf = (kind: string): number => {
  const since = processorSeconds()
  const perSecond = loadNative().peak(kind, 1, MILLISECONDS)
  return (perSecond * MILLISECONDS) / 1000 / (processorSeconds() - since)
}

if (existsSync(nativePath())) {
  for (const kind of loadNative().info().peaks) {
    const [dtype, isa] = kind.split(".") as [ActivationDType, string] // as peaks are named
    test(`the peak ${kind} is not below a product's rate`, { timeout: 120_000 }, async () => {
      const { rate, close } = productOf(dtype, isa)
      await rate()
      let [peak, product] = [0, 0]
      for (let turn = 0; turn < TURNS && (turn < 3 || peak * SLACK < product); turn++) {
        peak = Math.max(peak, peakOf(kind))
        product = Math.max(product, await rate())
      }
      await close()
      assert.ok(peak * SLACK >= product, `${kind}: ${peak / 1e9} GFLOP/s, but a product makes ${product / 1e9}`)
      assert.ok(product > 0 && peak < 100 * product, `${kind}: ${peak / 1e9} GFLOP/s, a product makes ${product / 1e9}`)
    })
  }
}
