/**
 * Seeded permutations, a function of what they are for: resuming at any step draws the same order without replaying anything.
 * Fisher and Yates's shuffle over Philox's numbers.
 */
import { philox } from "@graft/core"

/** What a permutation is for: with the same seed, different purposes are independent. */
export const purposes = { epoch: 1, split: 2, mixture: 3, groups: 4, preview: 5 } as const
export type Purpose = keyof typeof purposes

/** The numbers 0 … length-1 in an order drawn for (seed, purpose, index). `index` is the epoch, where there are several. */
export const permutation = (length: number, seed: number, purpose: Purpose, index = 0): Int32Array => {
  const order = new Int32Array(length)
  for (let i = 0; i < length; i++) order[i] = i
  const lanes = new Uint32Array(4)
  for (let i = length - 1; i > 0; i--) {
    // One block a draw: 53 bits over i + 1 places, whose bias is below 2^-22 for any array that fits in memory.
    philox(lanes, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, i, index, purposes[purpose], 0)
    const unit = ((lanes[0]! >>> 5) * 2 ** 26 + (lanes[1]! >>> 6)) * 2 ** -53
    const j = Math.floor(unit * (i + 1))
    const held = order[i]!
    order[i] = order[j]!
    order[j] = held
  }
  return order
}
