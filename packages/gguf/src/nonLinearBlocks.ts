/**
 * Blocks whose 4-bit codes stand for uneven values (ggml-common.h, kvalues_iq4nl, block_iq4_nl, block_iq4_xs):
 *
 *     IQ4_NL: d·values[q], 32 numbers      IQ4_XS: d·(s − 32)·values[q], 256 numbers, s six bits for each 32
 */
import { type DequantizeBlock, halfAt } from "./blockFormat.ts"

/** A constant of the format, i8 [16]. */
const values = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

/** 16 bytes: low nibbles are the first 16 numbers. */
const nibbles = (out: Float32Array, o: number, blocks: DataView, at: number, scale: number): void => {
  for (let i = 0; i < 16; i++) {
    const pair = blocks.getUint8(at + i)
    out[o + i] = scale * values[pair & 15]!
    out[o + 16 + i] = scale * values[pair >> 4]!
  }
}

export const iq4Nl: DequantizeBlock = (out, o, blocks, at) => nibbles(out, o, blocks, at + 2, halfAt(blocks, at))

/** d, the high pairs of bits of s u16, their low nibbles u8 [4], codes u8 [128]. */
export const iq4Xs: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  const high = blocks.getUint16(at + 2, true)
  for (let k = 0; k < 8; k++) {
    const low = (blocks.getUint8(at + 4 + (k >> 1)) >> (4 * (k & 1))) & 15
    const s = low | (((high >> (2 * k)) & 3) << 4)
    nibbles(out, o + 32 * k, blocks, at + 8 + 16 * k, d * (s - 32))
  }
}
