/**
 * Quantising to 4 bits as bitsandbytes does it on a CPU (backends/default/ops.py, quantize_4bit): blocks of consecutive
 * elements across rows; the scale of a block is its largest magnitude; values are multiplied by its reciprocal in f32,
 * clamped, and a code is the count of midpoints strictly below. The last block, where it is not full, is divided instead, and
 * its scale is at least 1e-38. Two codes a byte, the earlier in the high nibble.
 */
import type { Kernel } from "@graft/core"
import { type Codebook, fp4, nf4 } from "./codebooks.ts"

const f = Math.fround
const LEAST = f(1e-38)
const clamp = (x: number): number => Math.min(1, Math.max(-1, x))

const placeOf = (x: number, bounds: Float32Array): number => {
  let place = 0
  while (place < bounds.length && x > bounds[place]!) place++
  return place
}

interface Block {
  readonly block: number
}
/** (packed u8 [⌈n/2⌉], absmax f32 [⌈n/block⌉]) from x [n]. */
const quantizeKernel = ({ name, order, bounds }: Codebook): Kernel<Block> => ({
  name: `${name}.quantize`,
  outputs: 2,
  fields: ["block"],
  check: ([packed, absmax, x], { block }) =>
    (packed!.size !== Math.ceil(x!.size / 2) || absmax!.size !== Math.ceil(x!.size / block)) &&
    `blocks of ${block} do not fit`,
  reference: ([packed, absmax, x], { block }) => {
    const n = x!.length
    packed!.fill(0)
    const put = (i: number, code: number): void => {
      packed![i >> 1]! |= i % 2 === 0 ? code << 4 : code
    }
    for (let b = 0; b < absmax!.length; b++) {
      const start = b * block
      const end = Math.min(n, start + block)
      let top = 0
      for (let i = start; i < end; i++) top = Math.max(top, Math.abs(x![i]!))
      const partial = end - start < block
      absmax![b] = partial ? Math.max(top, LEAST) : top
      const divisor = Math.max(top, LEAST)
      const reciprocal = f(1 / divisor)
      for (let i = start; i < end; i++) {
        const scaled = clamp(partial ? f(x![i]! / divisor) : f(x![i]! * reciprocal))
        put(i, order[placeOf(scaled, bounds)]!)
      }
    }
    if (n % 2 === 1) put(n, order[placeOf(0, bounds)]!) // the padding of the last byte
  }
})
export const quantizeKernels = { nf4: quantizeKernel(nf4), fp4: quantizeKernel(fp4) }
