/**
 * GGUF blocks to f32 (ggml/src/ggml-quants.c, dequantize_row_*; the same bits as gguf-py). A block of 32 numbers holds an
 * f16 scale d, for Q4_1 an f16 offset m, and codes; of 4-bit codes the low nibbles are the first 16 numbers:
 *
 *     Q8_0: d·q, q int8      Q4_0: d·(q − 8)      Q4_1: d·q + m
 */
import { fromF16 } from "@graft/core"

/** blocks → out, which has room for exactly their numbers */
type Dequantize = (out: Float32Array, blocks: DataView) => void

/** Values of the 65,536 halves: a table is several times as fast as decoding each scale. */
let halves: Float32Array | undefined
const halfTable = (): Float32Array => {
  halves ??= Float32Array.from({ length: 65_536 }, (_, bits) => fromF16(bits))
  return halves
}

const q8_0: Dequantize = (out, blocks) => {
  const half = halfTable()
  for (let at = 0, o = 0; o < out.length; at += 34, o += 32) {
    const d = half[blocks.getUint16(at, true)]!
    for (let i = 0; i < 32; i++) out[o + i] = d * blocks.getInt8(at + 2 + i)
  }
}
const q4_0: Dequantize = (out, blocks) => {
  const half = halfTable()
  for (let at = 0, o = 0; o < out.length; at += 18, o += 32) {
    const d = half[blocks.getUint16(at, true)]!
    for (let i = 0; i < 16; i++) {
      const pair = blocks.getUint8(at + 2 + i)
      out[o + i] = d * ((pair & 15) - 8)
      out[o + 16 + i] = d * ((pair >> 4) - 8)
    }
  }
}
// d·q has at most 15 significant bits, so that the sum is rounded once, as in f32.
const q4_1: Dequantize = (out, blocks) => {
  const half = halfTable()
  for (let at = 0, o = 0; o < out.length; at += 20, o += 32) {
    const d = half[blocks.getUint16(at, true)]!
    const m = half[blocks.getUint16(at + 2, true)]!
    for (let i = 0; i < 16; i++) {
      const pair = blocks.getUint8(at + 4 + i)
      out[o + i] = d * (pair & 15) + m
      out[o + 16 + i] = d * (pair >> 4) + m
    }
  }
}

const kernels: Readonly<Record<string, Dequantize>> = { Q8_0: q8_0, Q4_0: q4_0, Q4_1: q4_1 }

export const dequantizable: ReadonlyArray<string> = Object.keys(kernels)

/** Writes the numbers of `blocks` into `out`; `type` is one of `dequantizable`. */
export const dequantize = (type: string, out: Float32Array, blocks: Uint8Array): void => {
  const kernel = Object.hasOwn(kernels, type) ? kernels[type] : undefined
  if (kernel === undefined) throw new RangeError(`dequantize: ${type} is none of ${dequantizable.join(", ")}`)
  kernel(out, new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength))
}
