/**
 * Encodes text cut into pieces so that each token belongs to one piece.
 *
 * The tokens should be those of the whole text; and up to where an answer begins they must be those that generation sees,
 * which encodes the prompt alone. Nearly always both hold. Where they cannot (the prompt ends in a space that the tokenizer
 * would join with the answer's first word) the prompt's own tokens win, the answer is encoded as what follows it, and
 * `moved` says so.
 */
import type { Piece } from "./ChatTemplate.ts"
import type { Tokenizer } from "./Tokenizer.ts"

export interface EncodedPieces {
  readonly ids: ReadonlyArray<number>
  /** For each token, whether it belongs to a supervised piece. */
  readonly supervised: ReadonlyArray<boolean>
  readonly moved: boolean
}

export const encodePieces = (tokenizer: Tokenizer, given: ReadonlyArray<Piece>): EncodedPieces => {
  const pieces = joinAlike(given)
  const encode = (text: string) => tokenizer.encode(text, { addSpecial: false })
  const text = pieces.map((piece) => piece.text).join("")
  const whole = encode(text)
  if (pieces.length <= 1) {
    const supervised = pieces[0]?.supervised ?? false
    return { ids: whole, supervised: whole.map(() => supervised), moved: false }
  }
  const apart = pieces.map((piece) => encode(piece.text))
  if (equal(apart.flat(), whole)) return assemble(pieces, apart, false)
  const cut = cutAtPrefixes(pieces, whole, encode)
  if (cut !== undefined) return assemble(pieces, cut, false)
  return assemble(
    pieces,
    pieces.map((piece, i) => (i === 0 ? apart[0]! : encodeContinuation(piece.text, encode))),
    true
  )
}

const joinAlike = (given: ReadonlyArray<Piece>): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  for (const piece of given) {
    const last = pieces.at(-1)
    if (piece.text === "") continue
    if (last?.supervised === piece.supervised) {
      pieces[pieces.length - 1] = { text: last.text + piece.text, supervised: last.supervised }
    } else pieces.push(piece)
  }
  return pieces
}

type Encode = (text: string) => ReadonlyArray<number>

/** The whole text's tokens cut where the text up to each border ends, if those are a prefix of the whole's at each border. */
const cutAtPrefixes = (
  pieces: ReadonlyArray<Piece>,
  whole: ReadonlyArray<number>,
  encode: Encode
): ReadonlyArray<ReadonlyArray<number>> | undefined => {
  const parts: Array<ReadonlyArray<number>> = []
  let text = ""
  let done = 0
  for (const piece of pieces.slice(0, -1)) {
    text += piece.text
    const prefix = encode(text)
    if (prefix.length < done || !prefix.every((id, i) => whole[i] === id)) return undefined
    parts.push(whole.slice(done, prefix.length))
    done = prefix.length
  }
  parts.push(whole.slice(done))
  return parts
}

/**
 * The tokens of a text as they are when it follows another: some tokenizers put a space before whatever they encode, which
 * must not come between a prompt and its answer. A text that surely does not join with it goes in front and is cut off.
 */
const encodeContinuation = (text: string, encode: Encode): ReadonlyArray<number> => {
  for (const front of ["\n", ":"]) {
    const head = encode(front)
    const joined = encode(front + text)
    if (head.every((id, i) => joined[i] === id)) return joined.slice(head.length)
  }
  return encode(text)
}

const assemble = (
  pieces: ReadonlyArray<Piece>,
  parts: ReadonlyArray<ReadonlyArray<number>>,
  moved: boolean
): EncodedPieces => ({
  ids: parts.flat(),
  supervised: parts.flatMap((ids, i) => ids.map(() => pieces[i]!.supervised)),
  moved
})

const equal = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): boolean =>
  a.length === b.length && a.every((id, i) => b[i] === id)
