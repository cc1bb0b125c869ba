/** How one block of a quantised format becomes numbers. */
import type { GgmlType } from "./ggmlTypes.ts"

/** out[o …] = the numbers of the block that begins at byte `at` */
export type DequantizeBlock = (out: Float32Array, o: number, blocks: DataView, at: number) => void

export interface BlockFormat extends GgmlType {
  readonly block: DequantizeBlock
}

/** IEEE binary16: sign, five bits of exponent, ten of mantissa. */
const numberOf = (bits: number): number => {
  const exponent = (bits >> 10) & 31
  const mantissa = bits & 1023
  const magnitude =
    exponent === 0
      ? mantissa * 2 ** -24
      : exponent === 31
        ? mantissa === 0
          ? Number.POSITIVE_INFINITY
          : Number.NaN
        : (1024 + mantissa) * 2 ** (exponent - 25)
  return bits >> 15 === 0 ? magnitude : -magnitude
}
/** Values of the 65,536 halves: a table is several times as fast as decoding each scale. */
let halves: Float32Array | undefined

/** The f16 at byte `at`. */
export const halfAt = (view: DataView, at: number): number => {
  halves ??= Float32Array.from({ length: 65_536 }, (_, bits) => numberOf(bits))
  return halves[view.getUint16(at, true)]!
}
