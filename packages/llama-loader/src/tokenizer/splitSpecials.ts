/**
 * Cuts a text at the names of special tokens: their ids, and the stretches of text between. The longest name wins. A token
 * may take the white space beside it along, or count only where it is a word of its own (huggingface/tokenizers,
 * added_vocabulary.rs, find_matches).
 */
export interface NameRules {
  readonly lstrip?: boolean
  readonly rstrip?: boolean
  readonly singleWord?: boolean
}

export const splitSpecials = (
  named: ReadonlyMap<string, number>,
  rules: ReadonlyMap<string, NameRules> = new Map()
): ((text: string) => Iterable<string | number>) => {
  const names = [...named.keys()].filter((name) => name !== "").sort((a, b) => b.length - a.length)
  if (names.length === 0) return (text) => (text === "" ? [] : [text])
  const pattern = new RegExp(names.map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "g")
  return function* (text) {
    let done = 0
    for (const match of text.matchAll(pattern)) {
      const name = match[0]
      const { lstrip, rstrip, singleWord } = rules.get(name) ?? NONE
      let start = match.index
      let end = start + name.length
      if (singleWord && (WORD_BEFORE.test(text.slice(Math.max(0, start - 2), start)) || isWordAt(text, end))) continue
      if (lstrip) start = Math.max(done, spaceBefore(text, start))
      if (rstrip) end = spaceAfter(text, end)
      if (start > done) yield text.slice(done, start)
      yield named.get(name)!
      done = end
    }
    if (done < text.length) yield text.slice(done)
  }
}

const NONE: NameRules = {}
// Rust's \w and \s, which JavaScript's differ from.
const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u
const WORD_AT = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/uy
const SPACE = /\p{White_Space}/u

const isWordAt = (text: string, at: number): boolean => {
  WORD_AT.lastIndex = at
  return WORD_AT.test(text)
}

const spaceBefore = (text: string, from: number): number => {
  let at = from
  while (at > 0 && SPACE.test(text[at - 1]!)) at--
  return at
}

const spaceAfter = (text: string, from: number): number => {
  let at = from
  while (at < text.length && SPACE.test(text[at]!)) at++
  return at
}
