/**
 * Damage for tests of parsers: a copy of a sound file with one to four changes of the kinds that break parsers, drawn
 * from a seeded generator so that a failure can be repeated.
 */

/** Numbers at which lengths overflow, turn negative or lie. */
const EXTREMES: ReadonlyArray<bigint> = [
  0n,
  1n,
  7n,
  255n,
  65_535n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n
]

/** xorshift32: whole numbers below `bound`. */
export const randomBelow = (seed: number): ((bound: number) => number) => {
  let state = (Math.imul(seed, 0x9e3779b1) | 1) >>> 0
  return (bound) => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % bound
  }
}

export const mutateBytes = (sound: Uint8Array, seed: number): Uint8Array => {
  const below = randomBelow(seed)
  let bytes: Uint8Array = sound.slice()
  for (let round = below(4); round >= 0; round--) {
    const at = below(bytes.length + 1)
    const kind = below(8)
    if (kind <= 1 && bytes.length > 0) bytes[Math.min(at, bytes.length - 1)]! ^= 1 << below(8)
    else if (kind === 2 && bytes.length > 0) bytes[Math.min(at, bytes.length - 1)] = below(256)
    else if (kind === 3) bytes = bytes.slice(0, at)
    else if (kind === 4) bytes = splice(bytes, at, 1 + below(16), new Uint8Array(0))
    else if (kind === 5)
      bytes = splice(
        bytes,
        at,
        0,
        Uint8Array.from({ length: 1 + below(16) }, () => below(256))
      )
    else if (kind === 6) bytes = splice(bytes, at, 0, sound.slice(at, at + below(64)))
    else {
      // An extreme number, as binary of 4 or 8 bytes or as decimal digits.
      const value = EXTREMES[below(EXTREMES.length)]!
      const binary = new Uint8Array(8)
      new DataView(binary.buffer).setBigUint64(0, value, true)
      const written =
        below(2) === 0 ? new TextEncoder().encode(String(value)) : binary.subarray(0, below(2) === 0 ? 4 : 8)
      bytes = splice(bytes, at, written.length, written)
    }
  }
  return bytes
}

const splice = (bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array => {
  const rest = bytes.subarray(Math.min(at + removed, bytes.length))
  const out = new Uint8Array(at + added.length + rest.length)
  out.set(bytes.subarray(0, at))
  out.set(added, at)
  out.set(rest, at + added.length)
  return out
}
