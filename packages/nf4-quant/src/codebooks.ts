/**
 * The code books of 4-bit weights and the thresholds between their values (bitsandbytes/functional.py get_4bit_type,
 * backends/default/ops.py). They are constants of the format: computing NF4 anew from normal quantiles differs from the
 * seventh digit on.
 */
export type CodebookName = "nf4" | "fp4"

export interface Codebook {
  readonly name: CodebookName
  /** The value of each code, f32 [16]. */
  readonly values: Float32Array
  /** The codes in the order of their values. */
  readonly order: ReadonlyArray<number>
  /** Midpoints of neighbours in that order, f32 [15]: a value has as many of them strictly below it as its place. */
  readonly bounds: Float32Array
}

const codebook = (name: CodebookName, values: Float32Array): Codebook => {
  const order = [...values.keys()].sort((a, b) => values[a]! - values[b]! || a - b)
  const sorted = order.map((code) => values[code]!)
  const bounds = Float32Array.from(sorted.slice(1), (value, i) => Math.fround(Math.fround(sorted[i]! + value) / 2))
  return { name, values, order, bounds }
}

/** NormalFloat (QLoRA, arXiv:2305.14314 §3): equal areas of a normal distribution, with an exact 0. */
export const nf4 = codebook(
  "nf4",
  Float32Array.of(
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0
  )
)

/** A 4-bit float: sign, two bits of exponent, one of mantissa, over 12. Codes 0 and 8 are both 0. */
export const fp4 = codebook(
  "fp4",
  Float32Array.of(
    0,
    0.0052083334885537624,
    2 / 3,
    1,
    1 / 3,
    0.5,
    1 / 6,
    0.25,
    0,
    -0.0052083334885537624,
    -2 / 3,
    -1,
    -1 / 3,
    -0.5,
    -1 / 6,
    -0.25
  )
)

/** Block sizes that bitsandbytes knows. */
export const blockSizes = [32, 64, 128, 256, 512, 1024, 2048, 4096] as const
export type BlockSize = (typeof blockSizes)[number]

/** The block size of `elements` values with `scales` scales; several fit only where there is one block, and are alike. */
export const blockSizeOf = (elements: number, scales: number): BlockSize | undefined =>
  blockSizes.find((size) => Math.ceil(elements / size) === scales)
