/**
 * Counter-based random numbers, Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). A number
 * is a function of what it is for, never of how many were drawn before: recomputation, resuming, packing and any split into
 * micro-batches draw the same.
 */
/** The high half of a · b, unsigned. */
export const mulHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const other = aLow * bHigh + (middle & 0xffff)
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(other / 65536)) >>> 0
}

/** Four 32-bit numbers of a counter (c0 … c3) under a key (k0, k1), into `out`. */
export const philox = (
  out: Uint32Array,
  k0: number,
  k1: number,
  c0: number,
  c1: number,
  c2: number,
  c3: number
): void => {
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xd2511f53, c0)
    const low0 = Math.imul(0xd2511f53, c0)
    const high1 = mulHigh(0xcd9e8d57, c2)
    const low1 = Math.imul(0xcd9e8d57, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0 >>> 0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  out[0] = c0
  out[1] = c1
  out[2] = c2
  out[3] = c3
}

/** Uniform in [0, 1), 24 bits: what an f32 holds exactly. */
export const toUnit = (bits: number): number => (bits >>> 8) * 2 ** -24

/** The key of a module: FNV-1a of its path. */
export const siteOf = (path: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < path.length; i++) h = Math.imul(h ^ path.charCodeAt(i), 0x01000193)
  return h >>> 0
}

/** `size` numbers uniform in [0, 1) for a purpose named by (seed, site). */
export const uniforms = (size: number, seed: number, site: number): Float32Array => {
  const values = new Float32Array(size)
  const lanes = new Uint32Array(4)
  for (let i = 0; i < size; i += 4) {
    philox(lanes, seed, site, i / 4, 0, 0, 0)
    for (let j = 0; j < 4 && i + j < size; j++) values[i + j] = toUnit(lanes[j]!)
  }
  return values
}
/** `size` numbers of the standard normal distribution (Box–Muller). */
export const normals = (size: number, seed: number, site: number): Float32Array => {
  const u = uniforms(2 * Math.ceil(size / 2), seed, site)
  return Float32Array.from({ length: size }, (_, i) => {
    const pair = i - (i % 2)
    const radius = Math.sqrt(-2 * Math.log(1 - u[pair]!))
    const angle = 2 * Math.PI * u[pair + 1]!
    return radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  })
}
