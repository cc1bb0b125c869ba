/**
 * Fingerprints for the flight recorder, 64 bits in hexadecimal: the numbers of backend-cpu's contentHash.cc, so that a record
 * of this backend and one of the native engine can be compared op by op. Blocks of 256 KiB are hashed apart, 8 bytes at a
 * time in four chains, and mixed by SplitMix64's finaliser (Steele, Lea and Flood 2014).
 */
import { mulHigh } from "./random.ts"

const BLOCK = 256 << 10

/** An unsigned 64-bit number in two halves. Every function below works on the pair [high, low]. */
type Word = readonly [high: number, low: number]

const multiply = ([ah, al]: Word, [bh, bl]: Word): Word => [
  (mulHigh(al, bl) + Math.imul(al, bh) + Math.imul(ah, bl)) >>> 0,
  Math.imul(al, bl) >>> 0
]
const xor = ([ah, al]: Word, [bh, bl]: Word): Word => [(ah ^ bh) >>> 0, (al ^ bl) >>> 0]
const plus = ([ah, al]: Word, [bh, bl]: Word): Word => {
  const low = al + bl
  return [(ah + bh + (low > 0xffffffff ? 1 : 0)) >>> 0, low >>> 0]
}
/** x ^ (x >> bits), bits below 32. */
const fold = ([h, l]: Word, bits: number): Word => [
  (h ^ (h >>> bits)) >>> 0,
  (l ^ ((l >>> bits) | (h << (32 - bits)))) >>> 0
]

const GOLDEN: Word = [0x9e3779b9, 0x7f4a7c15]
const mix = (x: Word): Word =>
  fold(multiply(fold(multiply(fold(x, 30), [0xbf58476d, 0x1ce4e5b9]), 27), [0x94d049bb, 0x133111eb]), 31)
const absorb = (chain: Word, word: Word): Word => fold(multiply(xor(chain, word), GOLDEN), 29)

const hashBlock = (bytes: Uint8Array): Word => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const wordAt = (at: number): Word => [view.getUint32(at + 4, true), view.getUint32(at, true)]
  const chains: Array<Word> = [1, 2, 3, 4].map((n): Word => [0, n])
  let at = 0
  for (; at + 32 <= bytes.length; at += 32)
    for (let c = 0; c < 4; c++) chains[c] = absorb(chains[c]!, wordAt(at + 8 * c))
  for (; at < bytes.length; at += 8) {
    const rest = new Uint8Array(8)
    rest.set(bytes.subarray(at, at + 8))
    const tail = new DataView(rest.buffer)
    chains[0] = absorb(chains[0]!, [tail.getUint32(4, true), tail.getUint32(0, true)])
  }
  return chains.reduce<Word>((hash, chain) => plus(mix(xor(hash, chain)), chain), [0, bytes.length])
}

/** Of the outputs of one op, in order. */
export const contentHash = (outputs: ReadonlyArray<Uint8Array>): string => {
  let hash: Word = [0, 0]
  for (const bytes of outputs) {
    hash = mix(plus(hash, GOLDEN))
    for (let from = 0; from < bytes.length; from += BLOCK) {
      const block = hashBlock(bytes.subarray(from, from + BLOCK))
      hash = plus(mix(xor(hash, block)), block)
    }
  }
  return hash.map((half) => half.toString(16).padStart(8, "0")).join("")
}
