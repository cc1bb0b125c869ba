/** How far numbers lie apart. A NaN equals a NaN and nothing else; an infinity equals itself. */
import assert from "node:assert/strict"

export const maxDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  if (a.length !== b.length) return Infinity
  let worst = 0
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i]) || a[i] === b[i]) continue
    const d = Math.abs(a[i]! - b[i]!)
    if (Number.isNaN(d)) return Infinity
    worst = Math.max(worst, d)
  }
  return worst
}
/** The largest finite magnitude. */
const span = (values: ArrayLike<number>): number => {
  let most = 0
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) most = Math.max(most, Math.abs(values[i]!))
  return most
}
/** max|Δ| / max|wanted|; `floor` is the size of terms that may cancel, leaving nothing but their rounding. */
export const relativeDifference = (got: ArrayLike<number>, wanted: ArrayLike<number>, floor = 0): number => {
  const apart = maxDifference(got, wanted)
  return apart === 0 ? 0 : apart / Math.max(span(wanted), floor, Number.MIN_VALUE)
}
export const assertClose = (
  got: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: number,
  what: string,
  floor = 0
): void => {
  const apart = relativeDifference(got, wanted, floor)
  if (apart <= tolerance) return
  let at = 0
  let worst = -1
  for (let i = 0; i < Math.max(got.length, wanted.length); i++) {
    const d = maxDifference([got[i] ?? 0], [wanted[i] ?? 0])
    if (d > worst) {
      worst = d
      at = i
    }
  }
  assert.fail(
    `${what}: ${got.length} numbers, ${wanted.length} wanted; worst at ${at}: ${got[at]}, wanted ${wanted[at]}; ${apart.toExponential(2)} of the largest, allowed ${tolerance.toExponential(2)}`
  )
}
/** Equal as numbers: −0 and 0 are one, any NaN is NaN. */
export const assertSame = (got: ArrayLike<number>, wanted: ArrayLike<number>, what: string): void =>
  assertClose(got, wanted, 0, what)
