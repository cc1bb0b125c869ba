/**
 * SentencePiece's BPE as llama.cpp runs it (src/llama-vocab.cpp, llm_tokenizer_spm_session): of all neighbours whose
 * joining is a token, the one of highest score is joined, the leftmost of equals, until none is left. What is no token in
 * the end is written as its bytes.
 */

export interface ScoredVocabulary {
  readonly idOf: ReadonlyMap<string, number>
  readonly scores: ArrayLike<number>
  /** The token of each byte. */
  readonly byteIds: ArrayLike<number>
}

interface Bigram {
  readonly left: number
  readonly right: number
  readonly score: number
  /** Length of both together when found: another length now means that one of them has grown. */
  readonly length: number
}

const before = (a: Bigram, b: Bigram): boolean => a.score > b.score || (a.score === b.score && a.left < b.left)

/** A binary heap, best first. */
class Heap {
  readonly #items: Array<Bigram> = []
  push(item: Bigram): void {
    const items = this.#items
    let at = items.length
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(item, items[parent]!)) break
      items[at] = items[parent]!
      at = parent
    }
    items[at] = item
  }
  pop(): Bigram | undefined {
    const items = this.#items
    const best = items[0]
    const last = items.pop()
    if (items.length === 0 || last === undefined) return best
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= items.length) break
      if (child + 1 < items.length && before(items[child + 1]!, items[child]!)) child++
      if (!before(items[child]!, last)) break
      items[at] = items[child]!
      at = child
    }
    items[at] = last
    return best
  }
}

const utf8 = new TextEncoder()

/** The ids of a text in which spaces are U+2581 already. */
export const mergeByScore = ({ idOf, scores, byteIds }: ScoredVocabulary, text: string): ReadonlyArray<number> => {
  const symbols = [...text]
  const next = Int32Array.from(symbols, (_, i) => i + 1)
  const previous = Int32Array.from(symbols, (_, i) => i - 1)
  const end = symbols.length
  const heap = new Heap()
  const consider = (left: number, right: number): void => {
    if (left < 0 || right >= end) return
    const joined = symbols[left]! + symbols[right]!
    const id = idOf.get(joined)
    if (id !== undefined) heap.push({ left, right, score: scores[id] ?? 0, length: joined.length })
  }
  for (let i = 1; i < end; i++) consider(i - 1, i)
  for (let bigram = heap.pop(); bigram !== undefined; bigram = heap.pop()) {
    const { left, right, length } = bigram
    const first = symbols[left]!
    const second = symbols[right]!
    if (first === "" || second === "" || first.length + second.length !== length) continue
    symbols[left] = first + second
    symbols[right] = ""
    next[left] = next[right]!
    if (next[left]! < end) previous[next[left]!] = left
    consider(previous[left]!, left)
    consider(left, next[left]!)
  }
  const ids: Array<number> = []
  for (let i = 0; i < end; i = next[i]!) {
    const id = idOf.get(symbols[i]!)
    if (id !== undefined) ids.push(id)
    else for (const byte of utf8.encode(symbols[i]!)) ids.push(byteIds[byte]!)
  }
  return ids
}
