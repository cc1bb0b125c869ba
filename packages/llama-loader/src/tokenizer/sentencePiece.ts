/**
 * A SentencePiece BPE vocabulary (Llama 2, Mistral, TinyLlama) as a GGUF carries it: tokens with scores and kinds, spaces
 * as U+2581, a space before every stretch of text, bytes for what is in no token.
 */
import { mergeByScore, type ScoredVocabulary } from "./scoreMerging.ts"
import { splitSpecials } from "./splitSpecials.ts"
import { makeTokenizer, type Tokenizer } from "./Tokenizer.ts"

export interface SentencePieceVocabulary extends ScoredVocabulary {
  readonly pieces: ReadonlyArray<Uint8Array>
  readonly specials: ReadonlyMap<string, number>
  /** All that is recognised by name in a text: the specials and the tokens that a user defined. */
  readonly named: ReadonlyMap<string, number>
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly stopIds: ReadonlyArray<number>
  readonly addBos: boolean
  readonly addEos: boolean
  readonly spacePrefix: boolean
}

/** Words remembered; a text has few different ones. */
const REMEMBERED = 50_000

export const sentencePieceTokenizer = (vocabulary: SentencePieceVocabulary): Tokenizer => {
  const { named, bosId, eosId, addBos, addEos, spacePrefix } = vocabulary
  const merge = byWords(vocabulary)
  const split = splitSpecials(named)
  const encode: Tokenizer["encode"] = (text, { addSpecial }) => {
    const ids: Array<number> = []
    if (addSpecial && addBos && bosId !== undefined) ids.push(bosId)
    let afterSpecial = true
    for (const part of split(wellFormed(text))) {
      if (typeof part === "number") ids.push(part)
      else for (const id of merge(`${spacePrefix && afterSpecial ? " " : ""}${part}`.replaceAll(" ", "▁"))) ids.push(id)
      afterSpecial = typeof part === "number"
    }
    if (addSpecial && addEos && eosId !== undefined) ids.push(eosId)
    return ids
  }
  return makeTokenizer({ ...vocabulary, encode })
}

/** Half a surrogate pair is no character; encoders of UTF-8 write U+FFFD for it. */
const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\ufffd")

/**
 * No token joins across the start of a word if none has a space after another character, which is nearly always so: then
 * words are merged one by one and remembered, with the same result as for the text whole.
 */
const byWords = (vocabulary: ScoredVocabulary): ((text: string) => Iterable<number>) => {
  for (const token of vocabulary.idOf.keys()) if (/[^▁]▁/.test(token)) return (text) => mergeByScore(vocabulary, text)
  const remembered = new Map<string, ReadonlyArray<number>>()
  const word = (text: string): ReadonlyArray<number> => {
    const known = remembered.get(text)
    if (known !== undefined) return known
    const ids = mergeByScore(vocabulary, text)
    if (remembered.size >= REMEMBERED) remembered.clear()
    if (text.length <= 64) remembered.set(text, ids)
    return ids
  }
  return function* (text) {
    for (const [found] of text.matchAll(/▁*[^▁]+|▁+$/g)) yield* word(found)
  }
}
