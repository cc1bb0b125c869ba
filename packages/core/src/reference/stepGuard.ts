import type { Kernel } from "../Queue.ts"

/** Steps whose losses the mean remembers, and those it needs before it judges. */
const MEMORY = 20
const LEARNING = 10
interface Guard {
  /** A loss above spike · mean is a spike; 0: no loss is. */
  readonly spike: number
  /** Behind a loss that is a spike or not finite no step is applied any more. */
  readonly halts: boolean
}
/**
 * Decides behind clipControl whether a step is applied. control [4] as there; guard [3] = (mean of the last losses, losses
 * seen, limit of this one, 0: none); halted [1]; loss [1] is a sum over tokens [1]. On the device, so that the next step
 * may be queued before the host has seen this one.
 */
export const stepGuard: Kernel<Guard> = {
  name: "stepGuard",
  outputs: 3,
  inPlace: [0, 1, 2],
  fields: ["spike", "halts"],
  dtypes: ["f32", "f32", "f32", "f32", "f32"],
  reference: ([control, guard, halted, loss, tokens], { spike, halts }) => {
    const mean = loss![0]! / tokens![0]!
    const limit = spike > 0 && guard![1]! >= LEARNING ? spike * guard![0]! : 0
    const applied = control![1] !== 0
    const badLoss = !Number.isFinite(mean) || (limit > 0 && mean > limit)
    const good = applied && halted![0] === 0 && !badLoss
    guard![2] = limit
    if (good) {
      guard![1] = guard![1]! + 1
      guard![0] = guard![0]! + (mean - guard![0]!) / Math.min(MEMORY, guard![1]!)
      return
    }
    if (halts && badLoss) halted![0] = 1
    control![0] = 0
    control![1] = 0
    control![2] = control![2]! - (applied ? 1 : 0)
  }
}
