/**
 * Blocks of 256 numbers, the "K" formats (ggml-common.h, block_q2_K … block_q6_K). A block has an f16 scale d (Q2_K, Q4_K
 * and Q5_K an f16 offset scale m beside it) and small integers s that scale each 16 or 32 numbers:
 *
 *     Q2_K: d·s·q − m·s'      Q3_K: d·(s − 32)·(q − 4)      Q4_K, Q5_K: d·s·q − m·s'      Q6_K: d·s·(q − 32)
 *
 * Codes are spread over a block so that 32 numbers of one place use the same bits of 32 neighbouring bytes.
 */
import { type DequantizeBlock, halfAt } from "./blockFormat.ts"

/** s u8 [16] (scale in the low nibble, offset in the high), q u8 [64], d, m. Numbers 128 h + 32 j … use bits 2 j of 32 bytes. */
export const q2K: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at + 80)
  const m = halfAt(blocks, at + 82)
  for (let i = 0; i < 256; i++) {
    const s = blocks.getUint8(at + (i >> 4))
    const q = (blocks.getUint8(at + 16 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3
    out[o + i] = d * (s & 15) * q - m * (s >> 4)
  }
}

/** Scale k of the 16 scales of Q3_K: six bits, the low four in bytes 0 … 7, the high two in bytes 8 … 11. */
const sixBits = (blocks: DataView, at: number, k: number): number => {
  const low = k < 8 ? blocks.getUint8(at + k) & 15 : blocks.getUint8(at + k - 8) >> 4
  return low | (((blocks.getUint8(at + 8 + (k & 3)) >> (2 * (k >> 2))) & 3) << 4)
}

/** The third bits u8 [32] (bit j of byte i: number 32 j + i), q u8 [64] as Q2_K's, s [12 bytes], d. */
export const q3K: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at + 108)
  for (let k = 0; k < 16; k++) {
    const scale = d * (sixBits(blocks, at + 96, k) - 32)
    for (let i = 16 * k; i < 16 * k + 16; i++) {
      const low = (blocks.getUint8(at + 32 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3
      const high = (blocks.getUint8(at + (i & 31)) >> (i >> 5)) & 1
      out[o + i] = scale * ((low | (high << 2)) - 4)
    }
  }
}

/** Scale and offset k of the 8 of Q4_K and Q5_K: six bits each in 12 bytes (ggml-quants.c, get_scale_min_k4). */
const scaleAt = (blocks: DataView, at: number, k: number): number =>
  k < 4 ? blocks.getUint8(at + k) & 63 : (blocks.getUint8(at + k + 4) & 15) | ((blocks.getUint8(at + k - 4) >> 6) << 4)
const offsetAt = (blocks: DataView, at: number, k: number): number =>
  k < 4 ? blocks.getUint8(at + k + 4) & 63 : (blocks.getUint8(at + k + 4) >> 4) | ((blocks.getUint8(at + k) >> 6) << 4)

/** d, m, s [12 bytes], q u8 [128]: numbers 64 j … in low nibbles, 64 j + 32 … in high ones, of bytes 32 j …. */
export const q4K: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  const m = halfAt(blocks, at + 2)
  for (let k = 0; k < 8; k++) {
    const scale = d * scaleAt(blocks, at + 4, k)
    const offset = m * offsetAt(blocks, at + 4, k)
    for (let i = 0; i < 32; i++) {
      const q = (blocks.getUint8(at + 16 + 32 * (k >> 1) + i) >> (4 * (k & 1))) & 15
      out[o + 32 * k + i] = scale * q - offset
    }
  }
}

/** d, m, s [12 bytes], the fifth bits u8 [32] (bit k of byte i: number 32 k + i), q u8 [128] as Q4_K's. */
export const q5K: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  const m = halfAt(blocks, at + 2)
  for (let k = 0; k < 8; k++) {
    const scale = d * scaleAt(blocks, at + 4, k)
    const offset = m * offsetAt(blocks, at + 4, k)
    for (let i = 0; i < 32; i++) {
      const low = (blocks.getUint8(at + 48 + 32 * (k >> 1) + i) >> (4 * (k & 1))) & 15
      const high = (blocks.getUint8(at + 16 + i) >> k) & 1
      out[o + 32 * k + i] = scale * (low | (high << 4)) - offset
    }
  }
}

/**
 * Low nibbles u8 [128], high pairs of bits u8 [64], s i8 [16], d. Of each 128 numbers, 32 j … have their low nibble in bytes
 * 32 (j mod 2) …, low half for j < 2, and bits 2 j of the 32 bytes of pairs.
 */
export const q6K: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at + 208)
  for (let i = 0; i < 256; i++) {
    const half = i >> 7
    const j = (i >> 5) & 3
    const low = (blocks.getUint8(at + 64 * half + 32 * (j & 1) + (i & 31)) >> (4 * (j >> 1))) & 15
    const high = (blocks.getUint8(at + 128 + 32 * half + (i & 31)) >> (2 * j)) & 3
    out[o + i] = d * blocks.getInt8(at + 192 + (i >> 4)) * ((low | (high << 4)) - 32)
  }
}
