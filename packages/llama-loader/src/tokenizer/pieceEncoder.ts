/**
 * A fast encoder for a tokenizer.json whose tokens are made of characters, with spaces as U+2581: BPE by ranks with bytes for
 * what is no token (Llama 2, Mistral, Gemma, Phi-3) and Unigram. Ids are those of huggingface/tokenizers (models/bpe/model.rs,
 * models/unigram/model.rs, pre_tokenizers/metaspace.rs). What a file asks for beyond this is left to the library.
 */
import { Schema } from "effect"
import { AddedTokens, cutAddedTokens } from "./addedTokens.ts"
import { type ByteMerges, MAX_ID, mergeSymbols, pairsOf } from "./byteMerging.ts"
import { jsonNormalizer } from "./jsonNormalizer.ts"
import { wellFormed } from "./sentencePiece.ts"
import { byteName } from "./sentencePieceModel.ts"
import { unigram } from "./unigram.ts"
import { Merges, ScoredPieces, TokenIds } from "./vocabularyJson.ts"
import { byWords } from "./wordsOfPieces.ts"

const absent = Schema.optionalKey(Schema.Null)
const off = Schema.optionalKey(Schema.NullOr(Schema.Literal(false)))
const flag = Schema.optionalKey(Schema.NullOr(Schema.Boolean))
const maybeEmpty = Schema.optionalKey(Schema.NullOr(Schema.Literal("")))

const Metaspace = Schema.Struct({
  type: Schema.Literal("Metaspace"),
  replacement: Schema.Literal("▁"),
  prepend_scheme: Schema.optionalKey(Schema.Literals(["first", "always", "never"])),
  add_prefix_space: flag,
  split: flag
})
/** Gemma's: after its normaliser no text has a space, so that it cuts nothing. */
const SpaceSplit = Schema.Struct({
  type: Schema.Literal("Split"),
  pattern: Schema.Struct({ String: Schema.Literal(" ") }),
  behavior: Schema.Literal("MergedWithPrevious"),
  invert: off
})
const Bpe = Schema.Struct({
  type: Schema.optionalKey(Schema.Literal("BPE")),
  vocab: TokenIds,
  merges: Merges,
  dropout: absent,
  unk_token: Schema.optionalKey(Schema.NullOr(Schema.String)),
  continuing_subword_prefix: maybeEmpty,
  continuing_subword_suffix: absent,
  end_of_word_suffix: maybeEmpty,
  fuse_unk: flag,
  byte_fallback: flag,
  ignore_merges: off
})
const Unigram = Schema.Struct({
  type: Schema.Literal("Unigram"),
  vocab: ScoredPieces,
  unk_id: Schema.Int,
  byte_fallback: flag
})
const Encodable = Schema.Struct({
  normalizer: Schema.optionalKey(Schema.Unknown),
  pre_tokenizer: Schema.optionalKey(Schema.NullOr(Schema.Union([Metaspace, SpaceSplit]))),
  added_tokens: AddedTokens,
  model: Schema.Union([Bpe, Unigram])
})
const isEncodable = Schema.is(Encodable)
const isMetaspace = Schema.is(Metaspace)

type Into = (text: string, into: Array<number>) => void

/** `undefined` where the tokenizer asks for more than this encoder does. `json` is a tokenizer.json. */
export const pieceEncoder = (json: unknown): ((text: string) => Array<number>) | undefined => {
  if (!isEncodable(json)) return undefined
  const { model, added_tokens, pre_tokenizer } = json
  const normalize = jsonNormalizer(json.normalizer)
  if (normalize === undefined) return undefined
  const metaspace = isMetaspace(pre_tokenizer) ? pre_tokenizer : undefined
  if (pre_tokenizer != null && metaspace === undefined && normalize("a b").includes(" ")) return undefined
  const scheme = metaspace?.prepend_scheme ?? (metaspace?.add_prefix_space === false ? "never" : "always")
  const splits = metaspace !== undefined && metaspace.split !== false
  const encode = model.type === "Unigram" ? unigramOf(model, splits) : bpeOf(model, added_tokens, splits)
  if (encode === undefined) return undefined
  const cut = cutAddedTokens(added_tokens, normalize)
  return (text) => {
    const ids: Array<number> = []
    cut(
      wellFormed(text),
      (id) => ids.push(id),
      (stretch, start) => {
        if (metaspace === undefined) return encode(stretch, ids)
        const spaced = stretch.replaceAll(" ", "▁")
        const prepends = (scheme === "always" || (scheme === "first" && start)) && !spaced.startsWith("▁")
        encode(prepends ? `▁${spaced}` : spaced, ids)
      }
    )
    return ids
  }
}

const utf8 = new TextEncoder()

/** The tokens of a text's bytes, where each of them has one. */
const bytesBy = (idOf: ReadonlyMap<string, number>) => {
  const byteIds = Array.from({ length: 256 }, (_, byte) => idOf.get(byteName(byte)))
  return (text: string): ReadonlyArray<number> | undefined => {
    const ids: Array<number> = []
    for (const byte of utf8.encode(text)) {
      const id = byteIds[byte]
      if (id === undefined) return undefined
      ids.push(id)
    }
    return ids
  }
}

const bpeOf = (model: typeof Bpe.Type, added: typeof AddedTokens.Type, splits: boolean): Into | undefined => {
  const idOf = new Map<string, number>()
  for (const text in model.vocab) idOf.set(text, model.vocab[text]!)
  const ids = [...idOf.values(), ...added.map(({ id }) => id)]
  if (!ids.every((id) => id >= 0 && id < MAX_ID)) return undefined
  const joined: ByteMerges["joined"] | undefined = pairsOf(idOf, model.merges)
  const unknown = model.unk_token == null ? undefined : idOf.get(model.unk_token)
  if (joined === undefined || (model.unk_token != null && unknown === undefined)) return undefined
  const fuses = model.fuse_unk === true
  const bytesOf = model.byte_fallback === true ? bytesBy(idOf) : () => undefined
  const merge = (word: string): ReadonlyArray<number> => {
    const symbols: Array<number> = []
    let unknowns = 0
    for (const character of word) {
      const id = idOf.get(character)
      if (id !== undefined) {
        symbols.push(id)
        unknowns = 0
        continue
      }
      const bytes = bytesOf(character)
      if (bytes !== undefined) symbols.push(...bytes)
      else if (unknown !== undefined && !(fuses && unknowns++ > 0)) symbols.push(unknown)
    }
    return mergeSymbols(joined, symbols)
  }
  // An unknown space could fuse with an unknown before it, and a file that splits cuts at each space, not at each run.
  const wordwise = idOf.has("▁")
  if (!splits) return byWords(wordwise ? idOf.keys() : ["a▁"], merge)
  return eachWord(merge)
}

/** Metaspace's own cut: every U+2581 begins a word. */
const eachWord = (encode: (word: string) => ReadonlyArray<number>): Into => {
  const add = byWords([], encode)
  return (text, into) => {
    let start = 0
    for (let at = 1; at <= text.length; at++)
      if (at === text.length || text[at] === "▁") {
        add(text.slice(start, at), into)
        start = at
      }
  }
}

const unigramOf = (model: typeof Unigram.Type, splits: boolean): Into | undefined => {
  const { unk_id: unknownId } = model
  const pieces = model.vocab.map(([piece]) => piece)
  const idOf = new Map(pieces.map((piece, id) => [piece, id]))
  if (pieces[unknownId] === undefined || idOf.size < pieces.length || pieces.length > MAX_ID) return undefined
  const best = unigram({
    pieces,
    scores: model.vocab.map(([, score]) => score),
    unknownId,
    usable: (id) => pieces[id] !== "",
    keep: (sum) => sum
  })
  const bytesOf = model.byte_fallback === true ? bytesBy(idOf) : () => undefined
  const encode = (text: string): ReadonlyArray<number> => {
    const ids: Array<number> = []
    let unknowns = ""
    const flush = (): void => {
      if (unknowns !== "")
        ids.push(...(idOf.has(unknowns) ? [idOf.get(unknowns)!] : (bytesOf(unknowns) ?? [unknownId])))
      unknowns = ""
    }
    best(text, (id, start, end) => {
      if (id === unknownId) unknowns += text.slice(start, end)
      else {
        flush()
        ids.push(id)
      }
    })
    flush()
    return ids
  }
  return splits ? eachWord(encode) : (text, into) => into.push(...encode(text))
}
