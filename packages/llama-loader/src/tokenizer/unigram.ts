/**
 * Unigram tokenisation: of all ways to write a text with the vocabulary's pieces the one of highest sum of scores, found from
 * left to right by the best way to end at each place (Kudo 2018, arXiv:1804.10959; google/sentencepiece,
 * src/unigram_model.cc, EncodeOptimized). A character that is no piece may stand for itself as the unknown, 10 below the
 * least score.
 */

export interface UnigramVocabulary {
  readonly pieces: ReadonlyArray<string>
  readonly scores: ArrayLike<number>
  readonly unknownId: number
  /** Pieces that take part. */
  readonly usable: (id: number) => boolean
  /** Pieces that win over all others: the score of each is its bytes times the highest score, less 0.1. */
  readonly always?: (id: number) => boolean
  /** SentencePiece keeps sums as f32, Hugging Face's tokenizers as f64: near ties fall differently. */
  readonly keep: (sum: number) => number
}

const UNKNOWN_PENALTY = 10

export type Unigram = (text: string, found: (id: number, start: number, end: number) => void) => void

export const unigram = (vocabulary: UnigramVocabulary): Unigram => {
  const { pieces, unknownId, usable, always = () => false, keep } = vocabulary
  const trie = new Trie()
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  pieces.forEach((piece, id) => {
    if (!usable(id)) return
    trie.add(piece, id)
    if (always(id)) return
    least = Math.min(least, vocabulary.scores[id]!)
    most = Math.max(most, vocabulary.scores[id]!)
  })
  const scores = Float64Array.from(pieces, (piece, id) =>
    always(id) ? Math.fround(utf8.encode(piece).length * most) - 0.1 : vocabulary.scores[id]!
  )
  const unknownScore = keep(least - UNKNOWN_PENALTY)

  return (text, found) => {
    const sums = new Float64Array(text.length + 1)
    const starts = new Int32Array(text.length + 1).fill(-1)
    const ids = new Int32Array(text.length + 1)
    const consider = (start: number, end: number, id: number, sum: number): void => {
      if (starts[end]! >= 0 && !(keep(sum) > sums[end]!)) return
      sums[end] = keep(sum)
      starts[end] = start
      ids[end] = id
    }
    for (let start = 0; start < text.length; ) {
      const one = text.codePointAt(start)! > 0xffff ? 2 : 1
      const here = sums[start]!
      let alone = false
      for (let node = 0, end = start; end < text.length; ) {
        node = trie.child(node, text.charCodeAt(end++))
        if (node < 0) break
        const id = trie.idAt(node)
        if (id < 0) continue
        consider(start, end, id, scores[id]! + here)
        alone ||= end - start === one
      }
      if (!alone) consider(start, start + one, unknownId, keep(unknownScore + here))
      start += one
    }
    const path: Array<number> = []
    for (let end = text.length; end > 0; end = starts[end]!) path.push(end)
    for (const end of path.reverse()) found(ids[end]!, starts[end]!, end)
  }
}

const utf8 = new TextEncoder()

/** Pieces by their UTF-16 code units: children of a node in one map, by node · 2¹⁶ + unit. */
class Trie {
  readonly #children = new Map<number, number>()
  /** The root's children apart, since every place of a text asks for one. */
  readonly #first = new Int32Array(0x10000).fill(-1)
  readonly #ids: Array<number> = [-1]
  add(piece: string, id: number): void {
    let node = 0
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i)
      let next = this.child(node, unit)
      if (next < 0) {
        next = this.#ids.push(-1) - 1
        if (node === 0) this.#first[unit] = next
        else this.#children.set(node * 0x10000 + unit, next)
      }
      node = next
    }
    this.#ids[node] = id
  }
  /** -1 for none. */
  child(node: number, unit: number): number {
    return node === 0 ? this.#first[unit]! : (this.#children.get(node * 0x10000 + unit) ?? -1)
  }
  /** The piece that ends here, or -1. */
  idAt(node: number): number {
    return this.#ids[node]!
  }
}
