/**
 * A tokenizer.json's `added_tokens`: they are cut out of a text before anything else is done to it, those that are `normalized`
 * after the normaliser, by their normalised names (huggingface/tokenizers, added_vocabulary.rs, extract_and_normalize).
 */
import { Schema } from "effect"
import type { NormalizeText } from "./jsonNormalizer.ts"
import { type NameRules, splitSpecials } from "./splitSpecials.ts"

const flag = Schema.optionalKey(Schema.NullOr(Schema.Boolean))

export const AddedTokens = Schema.Array(
  Schema.Struct({
    id: Schema.Int,
    content: Schema.NonEmptyString,
    lstrip: flag,
    rstrip: flag,
    single_word: flag,
    normalized: flag,
    special: flag
  })
)

/** Calls `token` and `text`, normalised and not empty, in order; `start` where the text's first character begins the whole. */
export type CutAdded = (
  text: string,
  token: (id: number) => void,
  stretch: (text: string, start: boolean) => void
) => void

export const cutAddedTokens = (added: typeof AddedTokens.Type, normalize: NormalizeText): CutAdded => {
  const splitter = (normalized: boolean) => {
    const named = new Map<string, number>()
    const rules = new Map<string, NameRules>()
    for (const token of added) {
      if ((token.normalized ?? !(token.special ?? false)) !== normalized) continue
      const name = normalized ? normalize(token.content) : token.content
      named.set(name, token.id)
      if (token.lstrip || token.rstrip || token.single_word)
        rules.set(name, {
          lstrip: token.lstrip === true,
          rstrip: token.rstrip === true,
          singleWord: token.single_word === true
        })
    }
    return splitSpecials(named, rules)
  }
  const raw = splitter(false)
  const after = splitter(true)
  return (text, token, stretch) => {
    let start = true
    for (const part of raw(text)) {
      if (typeof part === "number") token(part)
      else
        for (const inner of after(normalize(part))) {
          if (typeof inner === "number") token(inner)
          else stretch(inner, start)
          start = false
        }
      start = false
    }
  }
}
