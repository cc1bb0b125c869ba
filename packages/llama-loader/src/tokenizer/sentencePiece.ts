/**
 * A SentencePiece BPE vocabulary (Llama 2, Mistral, TinyLlama) as a GGUF carries it: tokens with scores and kinds, spaces
 * as U+2581, a space before every stretch of text, bytes for what is in no token.
 */
import type { Pieces } from "./pieces.ts"
import { mergeByScore, type ScoredVocabulary } from "./scoreMerging.ts"
import { splitSpecials } from "./splitSpecials.ts"
import { makeTokenizer, type Tokenizer } from "./Tokenizer.ts"
import { byWords } from "./wordsOfPieces.ts"

export interface SentencePieceVocabulary extends ScoredVocabulary {
  readonly pieces: Pieces
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

export const sentencePieceTokenizer = (vocabulary: SentencePieceVocabulary): Tokenizer => {
  const { named, bosId, eosId, addBos, addEos, spacePrefix } = vocabulary
  const merge = byWords(vocabulary.idOf.keys(), (text) => mergeByScore(vocabulary, text))
  const split = splitSpecials(named)
  const encode: Tokenizer["encode"] = (text, { addSpecial }) => {
    const ids: Array<number> = []
    if (addSpecial && addBos && bosId !== undefined) ids.push(bosId)
    let afterSpecial = true
    for (const part of split(wellFormed(text))) {
      if (typeof part === "number") ids.push(part)
      else merge(`${spacePrefix && afterSpecial ? " " : ""}${part}`.replaceAll(" ", "▁"), ids)
      afterSpecial = typeof part === "number"
    }
    if (addSpecial && addEos && eosId !== undefined) ids.push(eosId)
    return ids
  }
  return makeTokenizer({ ...vocabulary, encode })
}

/** Half a surrogate pair is no character; encoders of UTF-8 write U+FFFD for it. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\ufffd")
