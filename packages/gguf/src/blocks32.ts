/**
 * Blocks of 32 numbers (ggml-common.h, block_q8_0 and the like): an f16 scale d, for Q4_1 and Q5_1 an f16 offset m, for
 * Q5_0 and Q5_1 the fifth bits of all codes, then the codes; of 4-bit codes the low nibbles are the first 16 numbers.
 *
 *     Q8_0: d·q, q int8      Q4_0: d·(q − 8)      Q4_1: d·q + m      Q5_0: d·(q − 16)      Q5_1: d·q + m
 */
import { type DequantizeBlock, halfAt } from "./blockFormat.ts"

export const q8_0: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  for (let i = 0; i < 32; i++) out[o + i] = d * blocks.getInt8(at + 2 + i)
}

export const q4_0: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  for (let i = 0; i < 16; i++) {
    const pair = blocks.getUint8(at + 2 + i)
    out[o + i] = d * ((pair & 15) - 8)
    out[o + 16 + i] = d * ((pair >> 4) - 8)
  }
}

export const q4_1: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  const m = halfAt(blocks, at + 2)
  for (let i = 0; i < 16; i++) {
    const pair = blocks.getUint8(at + 4 + i)
    out[o + i] = d * (pair & 15) + m
    out[o + 16 + i] = d * (pair >> 4) + m
  }
}

/** Bit i of `fifth` belongs to number i. */
export const q5_0: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  const fifth = blocks.getUint32(at + 2, true)
  for (let i = 0; i < 16; i++) {
    const pair = blocks.getUint8(at + 6 + i)
    out[o + i] = d * (((pair & 15) | (((fifth >>> i) & 1) << 4)) - 16)
    out[o + 16 + i] = d * (((pair >> 4) | (((fifth >>> (16 + i)) & 1) << 4)) - 16)
  }
}

export const q5_1: DequantizeBlock = (out, o, blocks, at) => {
  const d = halfAt(blocks, at)
  const m = halfAt(blocks, at + 2)
  const fifth = blocks.getUint32(at + 4, true)
  for (let i = 0; i < 16; i++) {
    const pair = blocks.getUint8(at + 8 + i)
    out[o + i] = d * ((pair & 15) | (((fifth >>> i) & 1) << 4)) + m
    out[o + 16 + i] = d * ((pair >> 4) | (((fifth >>> (16 + i)) & 1) << 4)) + m
  }
}
