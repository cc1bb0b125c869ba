/**
 * Normal numbers of deviation 0.02 in 16 bits or 32, fast enough to fill a disk: a table of 65,536 equally likely values,
 * drawn from by a hash of the place (Wellons' lowbias32), two from each. A value is a function of seed, tensor and place.
 */
import { narrow, siteOf } from "@graft/core"

const DEVIATION = 0.02
const ENTRIES = 65536

/** The quantile function of the normal distribution (Acklam's rational approximation, relative error below 1.2e-9). */
const quantile = (p: number): number => {
  const tail = (q: number): number =>
    (((((-7.784894002430293e-3 * q - 0.3223964580411365) * q - 2.400758277161838) * q - 2.549732539343734) * q +
      4.374664141464968) *
      q +
      2.938163982698783) /
    ((((7.784695709041462e-3 * q + 0.3224671290700398) * q + 2.445134137142996) * q + 3.754408661907416) * q + 1)
  if (p < 0.02425) return tail(Math.sqrt(-2 * Math.log(p)))
  if (p > 1 - 0.02425) return -tail(Math.sqrt(-2 * Math.log(1 - p)))
  const q = p - 0.5
  const r = q * q
  return (
    ((((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r + 138.357751867269) * r -
      30.66479806614716) *
      r +
      2.506628277459239) *
      q) /
    (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r + 66.80131188771972) * r -
      13.28068155288572) *
      r +
      1)
  )
}
const values = Float32Array.from({ length: ENTRIES }, (_, i) => DEVIATION * quantile((i + 0.5) / ENTRIES))

/** Bit patterns of the values by their format, made once. */
const tables = new Map<FloatDType, Uint32Array | Uint16Array>()
const tableOf = (dtype: FloatDType): Uint32Array | Uint16Array => {
  const known = tables.get(dtype)
  if (known !== undefined) return known
  const { buffer, byteOffset } = narrow(values, dtype)
  const table =
    dtype === "f32" ? new Uint32Array(buffer, byteOffset, ENTRIES) : new Uint16Array(buffer, byteOffset, ENTRIES)
  tables.set(dtype, table)
  return table
}
type FloatDType = "f32" | "bf16" | "f16"

/** Fills with elements from `first` on of the tensor `name`. `first` is even. */
export type Fill = (first: number, count: number) => Uint8Array

export const gaussianFill = (name: string, dtype: FloatDType, seed: number): Fill => {
  const key = Math.imul(siteOf(name) ^ Math.imul(seed + 1, 0x9e3779b1), 0x85ebca6b)
  const table = tableOf(dtype)
  return (first, count) => {
    const out = dtype === "f32" ? new Uint32Array(count) : new Uint16Array(count)
    for (let i = 0; i < count; i += 2) {
      // Places beyond 2^33 are another tensor's: none is so large.
      let h = ((first + i) / 2) ^ key
      h = Math.imul(h ^ (h >>> 16), 0x7feb352d)
      h = Math.imul(h ^ (h >>> 15), 0x846ca68b)
      h ^= h >>> 16
      out[i] = table[h & 0xffff]!
      if (i + 1 < count) out[i + 1] = table[h >>> 16]!
    }
    return new Uint8Array(out.buffer)
  }
}
