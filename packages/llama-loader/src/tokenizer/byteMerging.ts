/**
 * Byte-level BPE on one word: starting from the tokens of its bytes, of all neighbours that a merge joins the pair of
 * lowest rank is joined, the leftmost of equals, until none is left (Sennrich et al. 2016, arXiv:1508.07909; the order of
 * Hugging Face's tokenizers, models/bpe/word.rs).
 */

export interface ByteMerges {
  /** The token of each byte, or `UNKNOWN`. */
  readonly byteIds: Int32Array
  /** rank · 2²² + the joined token, by left · 2²² + right: both are whole numbers below 2⁵³. */
  readonly joined: ReadonlyMap<number, number>
}

const SHIFT = 2 ** 22
/** Stands for a byte that is no token: nothing joins across it, and in the end it is left out. */
const UNKNOWN = SHIFT - 1
/** Ids that this file can work with. */
export const MAX_ID = 2 ** 21

/** One of a tokenizer.json's `merges`, in both of its spellings. */
const mergePair = (merge: string | ReadonlyArray<string>): readonly [string, string] | undefined => {
  const [left, right, ...rest] = typeof merge === "string" ? merge.split(" ") : merge
  return left === undefined || right === undefined || rest.length > 0 ? undefined : [left, right]
}

/** `undefined` where a part or the result of a merge is no token (then merging texts and merging tokens differ), or it is none. */
export const byteMerges = (
  idOf: ReadonlyMap<string, number>,
  byteTexts: ReadonlyArray<string>,
  merges: ReadonlyArray<string | ReadonlyArray<string>>
): ByteMerges | undefined => {
  const joined = pairsOf(idOf, merges)
  return joined && { byteIds: Int32Array.from(byteTexts, (text) => idOf.get(text) ?? UNKNOWN), joined }
}

/** `joined` of the merges in their order. `undefined` as above. */
export const pairsOf = (
  idOf: ReadonlyMap<string, number>,
  merges: ReadonlyArray<string | ReadonlyArray<string>>
): ByteMerges["joined"] | undefined => {
  const joined = new Map<number, number>()
  for (const [rank, merge] of merges.entries()) {
    const pair = mergePair(merge)
    if (pair === undefined) return undefined
    const [left, right] = pair
    const [a, b, both] = [idOf.get(left), idOf.get(right), idOf.get(left + right)]
    if (a === undefined || b === undefined || both === undefined) return undefined
    joined.set(a * SHIFT + b, rank * SHIFT + both)
  }
  return joined
}

/** The tokens of a word given as bytes. */
export const mergeBytes = (merges: ByteMerges, bytes: Uint8Array): Array<number> =>
  mergeAll(merges, bytes).filter((id) => id !== UNKNOWN)

const mergeAll = ({ byteIds, joined }: ByteMerges, bytes: Uint8Array): Array<number> =>
  mergeSymbols(
    joined,
    Array.from(bytes, (byte) => byteIds[byte]!)
  )

/** The tokens of a word given as the tokens of its characters, which it changes. */
export const mergeSymbols = (joined: ByteMerges["joined"], ids: Array<number>): Array<number> => {
  // What each pair would become, so that a merge looks up only the two pairs that it makes.
  const pairs = ids.map((id, i) => (i + 1 < ids.length ? joined.get(id * SHIFT + ids[i + 1]!) : undefined))
  if (ids.length > LONG) return mergeLong(joined, ids, pairs)
  for (;;) {
    let best = Number.POSITIVE_INFINITY
    let at = -1
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = pairs[i]
      if (pair !== undefined && pair < best) {
        best = pair
        at = i
      }
    }
    if (at < 0) return ids
    ids.splice(at, 2, best % SHIFT)
    pairs.splice(at, 1)
    const rejoin = (i: number) => {
      pairs[i] = i + 1 < ids.length ? joined.get(ids[i]! * SHIFT + ids[i + 1]!) : undefined
    }
    rejoin(at)
    if (at > 0) rejoin(at - 1)
  }
}

/** Words are short; the plain search takes the square of their length, a heap serves the rest. */
const LONG = 64

/** The same with a heap of candidates: a text of one long word must not take the square of its length. */
const mergeLong = (
  joined: ReadonlyMap<number, number>,
  ids: Array<number>,
  pairs: ReadonlyArray<number | undefined>
): Array<number> => {
  const end = ids.length
  const next = Int32Array.from(ids, (_, i) => i + 1)
  const previous = Int32Array.from(ids, (_, i) => i - 1)
  const heap = new CandidateHeap()
  pairs.forEach((pair, i) => {
    if (pair !== undefined) heap.push(pair, i)
  })
  const consider = (i: number): void => {
    if (i < 0 || next[i]! >= end) return
    const pair = joined.get(ids[i]! * SHIFT + ids[next[i]!]!)
    if (pair !== undefined) heap.push(pair, i)
  }
  for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
    const { pair, at } = top
    const right = ids[at]! < 0 ? end : next[at]!
    if (right >= end || joined.get(ids[at]! * SHIFT + ids[right]!) !== pair) continue // one of the two has been joined since
    ids[at] = pair % SHIFT
    ids[right] = -1
    next[at] = next[right]!
    if (next[at]! < end) previous[next[at]!] = at
    consider(previous[at]!)
    consider(at)
  }
  return ids.filter((id) => id >= 0)
}

/** Least pair first, leftmost of equals. */
class CandidateHeap {
  readonly #pairs: Array<number> = []
  readonly #places: Array<number> = []
  push(pair: number, at: number): void {
    let i = this.#pairs.length
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!this.#before(pair, at, parent)) break
      this.#move(parent, i)
      i = parent
    }
    this.#pairs[i] = pair
    this.#places[i] = at
  }
  pop(): { readonly pair: number; readonly at: number } | undefined {
    if (this.#pairs.length === 0) return undefined
    const top = { pair: this.#pairs[0]!, at: this.#places[0]! }
    const pair = this.#pairs.pop()!
    const at = this.#places.pop()!
    const length = this.#pairs.length
    if (length === 0) return top
    let i = 0
    for (let child = 1; child < length; child = 2 * i + 1) {
      if (child + 1 < length && this.#before(this.#pairs[child + 1]!, this.#places[child + 1]!, child)) child++
      if (this.#before(pair, at, child)) break
      this.#move(child, i)
      i = child
    }
    this.#pairs[i] = pair
    this.#places[i] = at
    return top
  }
  #before(pair: number, at: number, other: number): boolean {
    return pair < this.#pairs[other]! || (pair === this.#pairs[other]! && at < this.#places[other]!)
  }
  #move(from: number, to: number): void {
    this.#pairs[to] = this.#pairs[from]!
    this.#places[to] = this.#places[from]!
  }
}
