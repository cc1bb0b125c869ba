/**
 * A fast encoder for byte-level BPE: cuts a text into words by the expressions of tokenizer.json, and looks each word up, since
 * a text has few different ones; only new words are merged. Ids are those of huggingface/tokenizers (Rust); expressions are
 * written for JavaScript by @huggingface/tokenizers. What a tokenizer.json asks for beyond this (other normalisers, suffixes) is left to the library.
 */
import * as library from "@huggingface/tokenizers"
import { Schema } from "effect"
import { AddedTokens, cutAddedTokens } from "./addedTokens.ts"
import { byteTexts } from "./byteLevel.ts"
import { byteMerges, MAX_ID, mergeBytes } from "./byteMerging.ts"
import { jsonNormalizer } from "./jsonNormalizer.ts"
import { Merges, TokenIds } from "./vocabularyJson.ts"

const absent = Schema.optionalKey(Schema.Null)
const off = Schema.optionalKey(Schema.NullOr(Schema.Literal(false)))
const maybeEmpty = Schema.optionalKey(Schema.NullOr(Schema.Literal("")))

const Split = Schema.Struct({
  type: Schema.Literal("Split"),
  pattern: Schema.Struct({ Regex: Schema.String }),
  behavior: Schema.Literal("Isolated"),
  invert: off
})
const Digits = Schema.Struct({ type: Schema.Literal("Digits"), individual_digits: Schema.Boolean })
const ByteLevel = Schema.Struct({
  type: Schema.Literal("ByteLevel"),
  add_prefix_space: Schema.Literal(false),
  use_regex: Schema.optionalKey(Schema.Boolean)
})
const Stage = Schema.Union([Split, Digits, ByteLevel])

/** Its declarations name these classes in files that TypeScript does not find, for want of their endings. */
const { ByteLevelPreTokenizer, SplitPreTokenizer } = library as unknown as {
  readonly ByteLevelPreTokenizer: new (config: object) => { readonly pattern: RegExp }
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null }
}

/** The tokenizers that this encoder does. Keys that it does not name change no ids. */
const Encodable = Schema.Struct({
  normalizer: Schema.optionalKey(Schema.Unknown),
  pre_tokenizer: Schema.Union([
    ByteLevel,
    Schema.Struct({ type: Schema.Literal("Sequence"), pretokenizers: Schema.NonEmptyArray(Stage) })
  ]),
  added_tokens: AddedTokens,
  model: Schema.Struct({
    type: Schema.Literal("BPE"),
    vocab: TokenIds,
    merges: Merges,
    unk_token: absent,
    continuing_subword_prefix: maybeEmpty,
    continuing_subword_suffix: absent,
    end_of_word_suffix: maybeEmpty,
    byte_fallback: off,
    ignore_merges: Schema.optionalKey(Schema.NullOr(Schema.Boolean))
  })
})
const isEncodable = Schema.is(Encodable)

/** Words remembered, of at most so many characters: some 20 MB when full. */
const REMEMBERED = 100_000
const LONGEST = 48

type Encode = (text: string) => Array<number>

/** `undefined` where the tokenizer asks for more than this encoder does. `json` is a tokenizer.json. */
export const byteLevelEncoder = (json: unknown): Encode | undefined => {
  if (!isEncodable(json)) return undefined
  const { pre_tokenizer, added_tokens, model } = json
  const normalize = jsonNormalizer(json.normalizer)
  if (normalize === undefined) return undefined
  const stages = pre_tokenizer.type === "Sequence" ? pre_tokenizer.pretokenizers : [pre_tokenizer]
  // The bytes' alphabet must come last: an expression after it would see that, not the text.
  if (stages.findIndex(({ type }) => type === "ByteLevel") !== stages.length - 1) return undefined

  const idOf = new Map<string, number>()
  for (const text in model.vocab) idOf.set(text, model.vocab[text]!)
  for (const { id, content } of added_tokens) idOf.set(content, id)
  for (const id of idOf.values()) if (!(id >= 0 && id < MAX_ID)) return undefined
  const merges = byteMerges(idOf, byteTexts, model.merges)
  if (merges === undefined) return undefined

  const utf8 = new TextEncoder()
  const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true })
  // What a closure names stays in memory: of the file only that.
  const wholeWords = model.ignore_merges === true ? idOf : undefined
  const mergeWord = (word: string): number | ReadonlyArray<number> => {
    const bytes = utf8.encode(word)
    const whole = wholeWords?.get(Array.from(bytes, (byte) => byteTexts[byte]).join(""))
    const ids = whole === undefined ? mergeBytes(merges, bytes) : [whole]
    return ids.length === 1 ? ids[0]! : ids
  }
  const remembered = new Map<string, number | ReadonlyArray<number>>()
  const add = (word: string, into: Array<number>): void => {
    let ids = remembered.get(word)
    if (ids === undefined) {
      ids = mergeWord(word)
      // A word is a part of its text, and would keep all of that in memory: a copy stands for itself.
      const copy = word.length <= LONGEST ? fromUtf8.decode(utf8.encode(word)) : ""
      if (copy === word) {
        if (remembered.size >= REMEMBERED) remembered.clear()
        remembered.set(copy, ids)
      }
    }
    if (typeof ids === "number") into.push(ids)
    else for (const id of ids) into.push(id)
  }
  const cuts = stages.flatMap(cutOf)
  const cut = (text: string, stage: number, into: Array<number>): void => {
    if (stage === cuts.length) return add(text, into)
    for (const piece of cuts[stage]!(text)) {
      if (stage + 1 === cuts.length) add(piece, into)
      else cut(piece, stage + 1, into)
    }
  }
  const named = cutAddedTokens(added_tokens, normalize)
  return (text) => {
    const ids: Array<number> = []
    named(
      text,
      (id) => ids.push(id),
      (stretch) => cut(stretch, 0, ids)
    )
    return ids
  }
}

type Cut = (text: string) => ReadonlyArray<string>

/** Digits are all numbers of Unicode, `²` too; a split keeps what lies between its matches. */
const cutOf = (stage: typeof Stage.Type): ReadonlyArray<Cut> => {
  if (stage.type === "Digits") {
    const pattern = stage.individual_digits ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu
    return [(text) => text.match(pattern) ?? []]
  }
  if (stage.type === "ByteLevel") {
    if (stage.use_regex === false) return []
    const pattern = unicodeSpaces(new ByteLevelPreTokenizer(stage).pattern)
    return [(text) => text.match(pattern) ?? []]
  }
  const { pattern } = new SplitPreTokenizer({ ...stage, invert: false })
  if (pattern === null) return [() => []]
  const spaced = unicodeSpaces(pattern)
  return [(text) => withGaps(text, spaced)]
}

/** `\s` is Unicode's white space: JavaScript's has U+FEFF and lacks U+0085. */
const unicodeSpaces = ({ source, flags }: RegExp): RegExp =>
  new RegExp(
    source.replace(/\\./gs, (sign) =>
      sign === "\\s" ? "\\p{White_Space}" : sign === "\\S" ? "\\P{White_Space}" : sign
    ),
    flags
  )

const withGaps = (text: string, pattern: RegExp): ReadonlyArray<string> => {
  const matches: ReadonlyArray<string> = text.match(pattern) ?? []
  if (matches.reduce((length, match) => length + match.length, 0) === text.length) {
    return matches.includes("") ? matches.filter((match) => match !== "") : matches
  }
  const pieces: Array<string> = []
  let done = 0
  for (const match of text.matchAll(pattern)) {
    if (done < match.index) pieces.push(text.slice(done, match.index))
    if (match[0] !== "") pieces.push(match[0])
    done = match.index + match[0].length
  }
  if (done < text.length) pieces.push(text.slice(done))
  return pieces
}
