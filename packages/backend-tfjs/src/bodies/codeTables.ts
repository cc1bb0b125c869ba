/**
 * The constants of the formats that this backend reads natively, by name: the code books of bitsandbytes' 4-bit types
 * (functional.py, get_4bit_type) and its signed dynamic map of 8 bits (create_dynamic_map(True, 7, 8)), as f32.
 */
const f = Math.fround

export const codebooks: Readonly<Record<string, ReadonlyArray<number>>> = {
  nf4: [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0
  ],
  fp4: [
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
  ]
}

/** Point `i` of torch.linspace(0.1, 1, count) in f32: the second half is counted from the end. */
const point = (i: number, count: number): number => {
  const step = f(f(1 - f(0.1)) / (count - 1))
  return f(i < count >> 1 ? f(0.1) + step * i : 1 - step * (count - i - 1))
}
/** 0, 1, and for each power of ten from 1e-6 to 1 the means of neighbouring points with both signs; 256 values, sorted. */
export const dynamicMap = (): Float32Array => {
  const magnitudes = [0, 1, 2, 3, 4, 5, 6].flatMap((power) =>
    Array.from({ length: 2 ** power }, (_, j) =>
      f(f(10 ** (power - 6)) * f(f(point(j, 2 ** power + 1) + point(j + 1, 2 ** power + 1)) / 2))
    )
  )
  return Float32Array.from([0, 1, ...magnitudes, ...magnitudes.map((v) => -v)]).sort()
}
