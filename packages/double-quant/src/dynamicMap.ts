/**
 * The signed dynamic map of 8 bits (bitsandbytes/functional.py create_dynamic_map(True, 7, 8)): for each of seven powers of
 * ten, means of neighbouring points between 0.1 and 1, with both signs; then 0 and 1. Computed in f32 as torch does, sorted.
 */
const f = Math.fround

/** torch.linspace(0.1, 1, count) in f32: the second half from the end, each point one fused multiply-add. */
const linspace = (count: number): Float32Array => {
  const start = f(0.1)
  const step = f(f(1 - start) / (count - 1))
  // A product of two f32 is exact in f64, so that rounding the sum once is what an FMA does.
  return Float32Array.from({ length: count }, (_, i) =>
    i < count >> 1 ? start + step * i : 1 - step * (count - i - 1)
  )
}

export const dynamicMap = (): Float32Array => {
  const values: Array<number> = [0, 1]
  for (let i = 0; i < 7; i++) {
    const points = linspace(2 ** i + 1)
    for (let j = 0; j < 2 ** i; j++) {
      const mean = f(f(points[j]! + points[j + 1]!) / 2)
      const value = f(f(10 ** (i - 6)) * mean)
      values.push(value, -value)
    }
  }
  return Float32Array.from(values).sort()
}
