/**
 * The dynamic maps of 8 bits that optimiser state is quantised to (Dettmers et al., arXiv:2110.02861 §2.2; bitsandbytes
 * create_dynamic_map): for each of seven powers of ten the means of neighbouring points between 0.1 and 1, then 0 and 1,
 * sorted. Signed: both signs and 2^i means at the i-th power; unsigned: 2^(i+1) means. Computed in f32 as torch does.
 *
 * A code is found as bitsandbytes finds it on a CPU (csrc/cpu_ops.cpp): by a table over 65,536 points of [-1, 1], so that
 * values near a midpoint get the code of the nearest point. The unsigned map uses its upper half only.
 */
const f = Math.fround
const POWERS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
const POINTS = 65_536

/** torch.linspace(0.1, 1, count): the second half from the end, each point one fused multiply-add. */
const linspace = (count: number): Float32Array => {
  const start = f(0.1)
  const step = f(f(1 - start) / (count - 1))
  return Float32Array.from({ length: count }, (_, i) =>
    i < count >> 1 ? start + step * i : 1 - step * (count - i - 1)
  )
}

export interface DynamicMap {
  /** What each code stands for, ascending. */
  readonly values: Float32Array
  /** The code of each point. */
  readonly codes: Uint8Array
}
const mapOf = (signed: boolean): DynamicMap => {
  const found: Array<number> = [0, 1]
  for (const [i, power] of POWERS.entries()) {
    const points = linspace(2 ** (signed ? i : i + 1) + 1)
    for (let j = 0; j + 1 < points.length; j++) {
      const value = f(f(power) * f(f(points[j]! + points[j + 1]!) / 2))
      found.push(value)
      if (signed) found.push(-value)
    }
  }
  const values = Float32Array.from(found).sort()
  const codes = new Uint8Array(POINTS)
  let code = 0
  for (let i = 0; i < POINTS; i++) {
    const at = f(f(f(i / (POINTS - 1)) * 2) - 1)
    while (code < 255 && at > f(f(values[code]! + values[code + 1]!) * 0.5)) code++
    codes[i] = code
  }
  return { values, codes }
}
export const signedMap = mapOf(true)
export const unsignedMap = mapOf(false)

/** The code of x, given 1 / absmax of its block; absmax 0 is infinite here, and its block has the code 0. */
export const codeOf = ({ codes }: DynamicMap, x: number, reciprocal: number): number => {
  const scaled = Math.min(1, Math.max(-1, f(x * reciprocal)))
  // NaN, from 0 · ∞ where absmax is subnormal, has the code 0.
  return codes[Math.trunc(f(f(f(f(scaled + 1) * 0.5) * (POINTS - 1)) + 0.5))] ?? 0
}
