/**
 * Finds rows with the same tokens as an earlier one: open addressing over a 32-bit hash (FNV-1a over words), equality checked
 * on the tokens themselves. About 12 bytes a row.
 */
import { int32List } from "./NumberList.ts"
import type { TokenStore } from "./TokenStore.ts"

export class DuplicateFinder {
  readonly #store: TokenStore
  readonly #hashes = int32List()
  #table = new Int32Array(2048) // row + 1, or 0
  constructor(store: TokenStore) {
    this.#store = store
  }

  /** Takes the rows in order; returns the first row equal to this one, itself when it is new. */
  add(row: number, words: Int32Array): number {
    const hash = hashOf(words)
    this.#hashes.push(hash)
    if (2 * this.#hashes.length > this.#table.length) this.#grow()
    const mask = this.#table.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const other = this.#table[slot]! - 1
      if (other < 0) {
        this.#table[slot] = row + 1
        return row
      }
      if (this.#hashes.at(other) === hash && this.#equal(other, words)) return other
    }
  }
  #equal(row: number, words: Int32Array): boolean {
    if (this.#store.tokensOf(row) !== words.length) return false
    const others = this.#store.wordsOf(row)
    return words.every((word, i) => word === others[i])
  }
  #grow(): void {
    const before = this.#table
    this.#table = new Int32Array(2 * before.length)
    const mask = this.#table.length - 1
    for (const entry of before) {
      if (entry === 0) continue
      let slot = this.#hashes.at(entry - 1) & mask
      while (this.#table[slot] !== 0) slot = (slot + 1) & mask
      this.#table[slot] = entry
    }
  }
}

const hashOf = (words: Int32Array): number => {
  let hash = 0x811c9dc5
  for (const word of words) {
    hash = Math.imul(hash ^ word, 0x01000193)
    hash ^= hash >>> 15 // a word is wider than FNV's byte: without this its high bits would hardly reach the low ones
  }
  return hash | 0
}
