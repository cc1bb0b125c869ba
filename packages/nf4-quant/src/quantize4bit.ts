/**
 * Quantising to 4 bits as bitsandbytes does it on a CPU (backends/default/ops.py, quantize_4bit): blocks of consecutive
 * elements across rows; the scale of a block is its largest magnitude; values are multiplied by its reciprocal in f32,
 * clamped, and a code is the count of midpoints strictly below. The last block, where it is not full, is divided instead, and
 * its scale is at least 1e-38. Two codes a byte, the earlier in the high nibble.
 */
import type { Kernel, Queue, Scope, Tensor } from "@graft/core"
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
  /** Of the matrix, for messages. */
  readonly columns: number
}
/**
 * (packed u8 [⌈n/2⌉], absmax f32 [⌈n/block⌉]) from x [n]. A value that is not finite is a fault, which names its place in
 * the weight that the last operand names in UTF-8.
 */
const quantizeKernel = ({ name, order, bounds }: Codebook): Kernel<Block> => ({
  name: `${name}.quantize`,
  outputs: 2,
  fields: ["block", "columns"],
  dtypes: ["u8", "f32", "float", "u8"],
  check: ([packed, absmax, x], { block }) =>
    (packed!.size !== Math.ceil(x!.size / 2) || absmax!.size !== Math.ceil(x!.size / block)) &&
    `blocks of ${block} do not fit`,
  reference: ([packed, absmax, x, named], { block, columns }) => {
    const n = x!.length
    const bad = x!.findIndex((value) => !Number.isFinite(value))
    if (bad >= 0) {
      const at = `${new TextDecoder().decode(Uint8Array.from(named!))} [${Math.floor(bad / columns)}, ${bad % columns}]`
      throw new RangeError(`${at} is ${x![bad]}; a weight that is quantised must be finite`)
    }
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

/** `name` as the operand of a message. */
export const nameTensor = (queue: Queue, scope: Scope, name: string): Tensor => {
  const bytes = new TextEncoder().encode(name)
  const t = scope.tensor([bytes.byteLength], `the name ${name}`, "u8")
  queue.upload(t, () => bytes)
  return t
}
