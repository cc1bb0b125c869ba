/** Time, memory and numbers of a pair's two sides, in turns on one queue. */
import { CpuQueue, cpuLimits, loadNative, Profile } from "@graft/backend-cpu"
import { type ActivationDType, bytesOf, type Command, MetaQueue } from "@graft/core"
import { type Compared, INPUTS, Maker, type PairCase, type Side, sides } from "./PairCase.ts"

export interface SideFigures {
  /** Seconds in which the queue ran commands, of the fastest round. */
  readonly forward: number
  readonly backward: number
  /** The plan's peaks beyond weights, adapters, inputs and their gradients: while the forward pass runs, and the backward. */
  readonly forwardBytes: number
  readonly backwardBytes: number
}
export interface PairRow {
  readonly pair: string
  readonly shape: string
  readonly compute: ActivationDType
  readonly threads: number
  readonly composed: SideFigures
  readonly fused: SideFigures
  /** Of the fused side, a second. */
  readonly rate: number
  readonly unit: "GFLOP/s" | "GB/s"
  /** What the machine could at most, of the same unit, in the same seconds. */
  readonly limit: number
  /** Largest |fused − composed| of a tensor over its largest |composed|; gradients where there are any. */
  readonly valueDifference: number
  readonly gradientDifference: number | undefined
}

const isBackward = (op: string): boolean => op.endsWith(" backward") || op === "computed again"

/** The most that is live while commands of either pass are enqueued. */
class PlannedPeaks extends MetaQueue {
  forward = 0
  backward = 0
  protected override submit(command: Command): void {
    super.submit(command)
    const pass = isBackward(this.origin) ? "backward" : "forward"
    this[pass] = Math.max(this[pass], this.allocator.liveBytes)
  }
}
const planned = (one: PairCase, side: Side, compute: ActivationDType, threads: number) => {
  const meta = new PlannedPeaks(cpuLimits(loadNative().info(), threads))
  const run = one.prepare(new Maker(meta, compute))
  run(side, false) // what a side makes once, as the gradients that arrive, is there from now on
  const before = meta.allocator.liveBytes
  meta.forward = meta.backward = before
  run(side, false)
  return { forwardBytes: meta.forward - before, backwardBytes: meta.backward - before }
}

const relative = (got: Float32Array, wanted: Float32Array): number => {
  let [difference, largest] = [0, 0]
  for (let i = 0; i < wanted.length; i++) {
    difference = Math.max(difference, Math.abs(got[i]! - wanted[i]!))
    largest = Math.max(largest, Math.abs(wanted[i]!))
  }
  return Number.isFinite(difference) && largest > 0 ? difference / largest : Number.NaN
}
const differences = async (got: Compared, wanted: Compared): Promise<ReadonlyArray<number | undefined>> =>
  Promise.all(
    (["values", "gradients"] as const).map(async (of) => {
      const [ours, theirs] = await Promise.all([Promise.all(got[of]), Promise.all(wanted[of])])
      return ours.length === 0 ? undefined : Math.max(...ours.map((values, i) => relative(values, theirs[i]!)))
    })
  )

export const measurePair = async (
  one: PairCase,
  compute: ActivationDType,
  threads: number,
  rounds: number,
  limitOf: (one: PairCase) => number
): Promise<PairRow> => {
  const native = loadNative()
  const info = native.info()
  const profile = new Profile()
  const options = { threads, isa: info.isa, profile }
  const queue = new CpuQueue(native, [2 ** 34], cpuLimits(info, threads), options) // address space, taken as it is touched
  const run = one.prepare(new Maker(queue, compute))
  const best = new Map<Side, { forward: number; backward: number }>()
  const compared = new Map<Side, Compared>()
  let limit = 0
  for (let round = 0; round <= rounds; round++) {
    for (const side of sides) {
      await queue.idle()
      const before = profile.collect().length
      compared.set(side, run(side, round === rounds))
      await queue.idle()
      const times = { forward: 0, backward: 0 }
      for (const { op, begin, end } of profile.collect().slice(before)) {
        if (op.startsWith(INPUTS)) continue
        times[isBackward(op) ? "backward" : "forward"] += end - begin
      }
      const known = best.get(side)
      const isFaster = known === undefined || times.forward + times.backward < known.forward + known.backward
      if (round > 0 && isFaster) best.set(side, times) // the first one touches memory first
    }
    limit = Math.max(limit, limitOf(one))
  }
  const [valueDifference, gradientDifference] = await differences(compared.get("fused")!, compared.get("composed")!)
  await queue.close()
  const figures = (side: Side): SideFigures => ({
    ...best.get(side)!,
    ...planned(one, side, compute, threads)
  })
  const [composed, fused] = [figures("composed"), figures("fused")]
  const work = one.flops ?? one.bytes!(bytesOf[compute])
  return {
    ...{ pair: one.pair, shape: one.shape, compute, threads, composed, fused },
    rate: work / (fused.forward + fused.backward),
    unit: one.flops === undefined ? "GB/s" : "GFLOP/s",
    limit,
    valueDifference: valueDifference!,
    gradientDifference
  }
}
