/**
 * The mean of f32 values as torch computes it on a CPU, bit for bit (aten/src/ATen/native/cpu/SumKernel.cpp, cascade_sum with
 * 8 lanes): the offset of doubly quantised scales is such a mean, and every code depends on its last bit.
 */
const f = Math.fround
const LANES = 8
const ILP = 4
const LEVELS = 4

const ceilLog2 = (n: number): number => (n <= 2 ? 1 : Math.ceil(Math.log2(n)))

/** Sums of `rows` rows of `width` values from `start`, by levels, so that rounding grows with the logarithm. */
const multiRowSum = (x: ArrayLike<number>, start: number, rows: number, width: number): Float32Array => {
  const power = Math.max(4, Math.floor(ceilLog2(rows) / LEVELS))
  const step = 2 ** power
  const sums = Array.from({ length: LEVELS }, () => new Float32Array(width))
  const addRow = (row: number): void => {
    for (let k = 0; k < width; k++) sums[0]![k]! += x[start + row * width + k]!
  }
  let row = 0
  while (row + step <= rows) {
    for (let j = 0; j < step; j++) addRow(row++)
    for (let level = 1; level < LEVELS; level++) {
      for (let k = 0; k < width; k++) sums[level]![k]! += sums[level - 1]![k]!
      sums[level - 1]!.fill(0)
      if (Math.floor(row / 2 ** (level * power)) % step !== 0) break
    }
  }
  while (row < rows) addRow(row++)
  for (let level = 1; level < LEVELS; level++) for (let k = 0; k < width; k++) sums[0]![k]! += sums[level]![k]!
  return sums[0]!
}
/** The sum of `count` vectors of `lanes` values. */
const rowSum = (x: ArrayLike<number>, count: number, lanes: number): Float32Array => {
  const rows = Math.floor(count / ILP)
  const parts = multiRowSum(x, 0, rows, ILP * lanes)
  for (let i = rows * ILP; i < count; i++) for (let k = 0; k < lanes; k++) parts[k]! += x[i * lanes + k]!
  for (let part = 1; part < ILP; part++) for (let k = 0; k < lanes; k++) parts[k]! += parts[part * lanes + k]!
  return parts.subarray(0, lanes)
}
export const torchMean = (x: ArrayLike<number>): number => {
  const n = x.length
  if (n < LANES) return f(rowSum(x, n, 1)[0]! / n)
  const vectors = Math.floor(n / LANES)
  const lanes = rowSum(x, vectors, LANES)
  let sum = 0
  for (let i = vectors * LANES; i < n; i++) sum = f(sum + x[i]!)
  for (let k = 0; k < LANES; k++) sum = f(sum + lanes[k]!)
  return f(sum / n)
}
