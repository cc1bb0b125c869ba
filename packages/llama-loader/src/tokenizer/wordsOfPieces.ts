/** Texts in SentencePiece's alphabet, cut where no token can reach across, so that words are looked up and not merged again. */

/** Words remembered; a text has few different ones. */
const REMEMBERED = 50_000
const LONGEST = 64
const SPACE_SYMBOL = 0x2581

/**
 * No token joins across the start of a word if none has U+2581 after another character, which is nearly always so: then
 * words are encoded one by one, with the same result as for the text whole.
 */
export const byWords = (
  tokens: Iterable<string>,
  encode: (text: string) => ReadonlyArray<number>
): ((text: string, into: Array<number>) => void) => {
  for (const token of tokens)
    if (/[^▁]▁/.test(token))
      return (text, into) => {
        for (const id of encode(text)) into.push(id)
      }
  const remembered = new Map<string, ReadonlyArray<number>>()
  const add = (word: string, into: Array<number>): void => {
    let ids = remembered.get(word)
    if (ids === undefined) {
      ids = encode(word)
      if (word.length <= LONGEST) {
        if (remembered.size >= REMEMBERED) remembered.clear()
        remembered.set(word, ids)
      }
    }
    for (let i = 0; i < ids.length; i++) into.push(ids[i]!)
  }
  return (text, into) => {
    let start = 0
    let before = SPACE_SYMBOL
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at)
      if (unit === SPACE_SYMBOL && before !== SPACE_SYMBOL) {
        add(text.slice(start, at), into)
        start = at
      }
      before = unit
    }
    if (start < text.length) add(text.slice(start), into)
  }
}
