/**
 * Best-fit-decreasing packing (Johnson 1973; Ding et al. 2024, arXiv:2404.10830): the longest rows first, each into the pack with the
 * least room that still takes it. Rows stay whole; in a pack they are documents of their own, so packing changes neither loss
 * nor gradient, only how full a batch is.
 */
import type { Units } from "./BatchSchedule.ts"

/** Packs of at most `capacity` tokens; a row that is longer is a pack of its own. `tokensOf` gives a row's length. */
export const packRows = (rows: Int32Array, capacity: number, tokensOf: (row: number) => number): Units => {
  const byLength = longestFirst(rows, tokensOf)
  const packOf = new Int32Array(rows.length)
  const open: Array<Array<number>> = Array.from({ length: capacity + 1 }, () => []) // packs by the tokens still free
  const free = new FreeRooms(capacity)
  let packs = 0
  for (const i of byLength) {
    const tokens = tokensOf(rows[i]!)
    const room = tokens > capacity ? -1 : free.atLeast(tokens)
    const pack = room < 0 ? packs++ : open[room]!.pop()!
    if (room >= 0 && open[room]!.length === 0) free.remove(room)
    packOf[i] = pack
    const left = (room < 0 ? capacity : room) - tokens
    if (left > 0) {
      if (open[left]!.length === 0) free.add(left)
      open[left]!.push(pack)
    }
  }
  return grouped(rows, packOf, packs)
}

/** Places in `rows`, by falling length, as they stand among equals: a counting sort, which takes no more than its result. */
const longestFirst = (rows: Int32Array, tokensOf: (row: number) => number): Int32Array => {
  let longest = 0
  for (const row of rows) longest = Math.max(longest, tokensOf(row))
  const next = new Int32Array(longest + 2) // next[longest - tokens]: where the next row of that length goes
  for (const row of rows) next[longest - tokensOf(row) + 1]!++
  for (let i = 1; i < next.length; i++) next[i]! += next[i - 1]!
  const places = new Int32Array(rows.length)
  for (let i = 0; i < rows.length; i++) places[next[longest - tokensOf(rows[i]!)]!++] = i
  return places
}

/** The set of free rooms that occur, as a tree of counts: the least one that suffices is found in log(capacity) steps. */
class FreeRooms {
  readonly #leaves: number
  readonly #counts: Int32Array
  constructor(capacity: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(capacity + 1))
    this.#counts = new Int32Array(2 * this.#leaves)
  }
  add(room: number): void {
    for (let node = this.#leaves + room; node >= 1; node >>= 1) this.#counts[node]!++
  }
  remove(room: number): void {
    for (let node = this.#leaves + room; node >= 1; node >>= 1) this.#counts[node]!--
  }
  /** The least room in the set that is at least `tokens`, or -1. */
  atLeast(tokens: number): number {
    let node = this.#leaves + tokens
    if (this.#counts[node]! > 0) return tokens
    // Up to the first right-hand sibling that holds something, then down its left side.
    while (node > 1 && ((node & 1) === 1 || this.#counts[node + 1] === 0)) node >>= 1
    if (node <= 1) return -1
    node++
    while (node < this.#leaves) node = this.#counts[2 * node]! > 0 ? 2 * node : 2 * node + 1
    return node - this.#leaves
  }
}

/** Rows by pack, in the data's order within a pack. Packs stand in the order of their first row. */
const grouped = (rows: Int32Array, packOf: Int32Array, packs: number): Units => {
  const rank = new Int32Array(packs).fill(-1)
  let seen = 0
  for (const pack of packOf) if (rank[pack] === -1) rank[pack] = seen++
  const starts = new Int32Array(packs + 1)
  for (const pack of packOf) starts[rank[pack]! + 1]!++
  for (let p = 0; p < packs; p++) starts[p + 1]! += starts[p]!
  const next = starts.slice(0, packs)
  const grouped = new Int32Array(rows.length)
  for (const [i, row] of rows.entries()) grouped[next[rank[packOf[i]!]!]!++] = row
  return { rows: grouped, starts }
}
