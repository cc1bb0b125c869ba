/**
 * ggml's quantised blocks as f32 (ggml/src/ggml-quants.c, dequantize_row_*; the same bits as gguf-py's quants.py). All
 * products of scale and code are exact in f32, so that at most one rounding happens, in the sum with an offset.
 */

import type { BlockFormat, DequantizeBlock } from "./blockFormat.ts"
import { q4_0, q4_1, q5_0, q5_1, q8_0 } from "./blocks32.ts"
import { q2K, q3K, q4K, q5K, q6K } from "./blocks256.ts"
import { ggmlTypes } from "./ggmlTypes.ts"
import { iq4Nl, iq4Xs } from "./nonLinearBlocks.ts"

const readers = {
  Q8_0: q8_0,
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q2_K: q2K,
  Q3_K: q3K,
  Q4_K: q4K,
  Q5_K: q5K,
  Q6_K: q6K,
  IQ4_NL: iq4Nl,
  IQ4_XS: iq4Xs
} satisfies Readonly<Record<string, DequantizeBlock>>

/** The quantised formats whose numbers are known, by ggml's name. */
export const blockFormats: ReadonlyMap<string, BlockFormat> = new Map(
  Object.entries(readers).map(([name, block]) => {
    const type = [...ggmlTypes.values()].find((known) => known.name === name)!
    return [name, { ...type, block }]
  })
)

/** Their names. */
export const dequantizable: ReadonlyArray<string> = [...blockFormats.keys()]

/** Writes the numbers of `blocks` into `out`, which has room for exactly these; `type` is one of `dequantizable`. */
export const dequantize = (type: string, out: Float32Array, blocks: Uint8Array): void => {
  const format = blockFormats.get(type)
  if (format === undefined) throw new RangeError(`dequantize: ${type} is none of ${dequantizable.join(", ")}`)
  const { elements, bytes, block } = format
  if (out.length * bytes !== blocks.byteLength * elements)
    throw new RangeError(`dequantize: ${blocks.byteLength} bytes of ${type} are not ${out.length} numbers`)
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength)
  for (let at = 0, o = 0; o < out.length; at += bytes, o += elements) block(out, o, view, at)
}
