/**
 * The tokenizer of a Hugging Face folder that has no tokenizer.json but Llama-2's `tokenizer.model`: ids are SentencePiece's
 * within each stretch of text, and transformers' LlamaTokenizer's around the tokens with names. Its `legacy` puts the
 * dummy space before each stretch, without it only the text's first has one.
 */
import { Schema } from "effect"
import { endsOfTurn } from "./endsOfTurn.ts"
import { piecesOf } from "./pieces.ts"
import { mergeByScore } from "./scoreMerging.ts"
import { wellFormed } from "./sentencePiece.ts"
import { byteName, KIND, readSentencePieceModel, type SentencePieceModel } from "./sentencePieceModel.ts"
import { sentencePieceNormalizer } from "./sentencePieceNormalizer.ts"
import { type NameRules, splitSpecials } from "./splitSpecials.ts"
import { makeTokenizer, type Tokenizer, TokenizerError } from "./Tokenizer.ts"
import { unigram } from "./unigram.ts"
import { byWords } from "./wordsOfPieces.ts"

const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))
const Named = optional(Schema.Union([Schema.String, Schema.Struct({ content: Schema.String })]))
const flag = optional(Schema.Boolean)

const Settings = Schema.Struct({
  bos_token: Named,
  eos_token: Named,
  add_bos_token: flag,
  add_eos_token: flag,
  add_prefix_space: flag,
  legacy: flag,
  added_tokens_decoder: optional(
    Schema.Record(
      Schema.String,
      Schema.Struct({
        content: Schema.NonEmptyString,
        special: flag,
        lstrip: flag,
        rstrip: flag,
        single_word: flag
      })
    )
  )
})
const decodeSettings = Schema.decodeUnknownSync(Settings)
const decodeAdded = Schema.decodeUnknownSync(Schema.Record(Schema.String, Schema.Int))
const decodeMap = Schema.decodeUnknownSync(Schema.Struct({ bos_token: Named, eos_token: Named }))

export interface ModelTokenizerFiles {
  /** tokenizer.model's path, for messages. */
  readonly path: string
  readonly model: Uint8Array
  /** As parsed JSON, each may be absent. */
  readonly config: unknown
  readonly addedTokens: unknown
  readonly specialTokensMap: unknown
}

/** @throws TokenizerError */
export const modelTokenizer = ({
  path,
  model,
  config,
  addedTokens,
  specialTokensMap
}: ModelTokenizerFiles): Tokenizer => {
  const fail = (what: string): never => {
    throw new TokenizerError({ message: `${path} cannot be used: ${what}`, path })
  }
  const attempt = <A>(beside: string, act: () => A): A => {
    try {
      return act()
    } catch (cause) {
      return fail(`${beside}${cause instanceof Error ? cause.message : String(cause)}`)
    }
  }
  const file = attempt("", () => readSentencePieceModel(model))
  const settings = attempt("beside it, tokenizer_config.json: ", () => decodeSettings(config ?? {}))
  const added = attempt("beside it, added_tokens.json: ", () => decodeAdded(addedTokens ?? {}))
  const map = attempt("beside it, special_tokens_map.json: ", () => decodeMap(specialTokensMap ?? {}))

  const names = namesOf(file)
  const { texts, named, specials, rules } = names
  const most = file.pieces.length + Object.keys(added).length + Object.keys(settings.added_tokens_decoder ?? {}).length
  const add = (id: number, content: string, special: boolean, rule: NameRules): void => {
    if (!(id >= 0 && id < most + SPARE)) fail(`the added token ${JSON.stringify(content)} has the id ${id}`)
    if (content === "") fail(`the added token ${id} has no text`)
    texts[id] = content
    named.set(content, id)
    rules.set(content, rule)
    if (special) specials.set(content, id)
  }
  for (const [content, id] of Object.entries(added)) add(id, content, false, {})
  for (const [id, token] of Object.entries(settings.added_tokens_decoder ?? {}))
    add(/^\d{1,8}$/.test(id) ? Number(id) : -1, token.content, token.special === true, {
      lstrip: token.lstrip === true,
      rstrip: token.rstrip === true,
      singleWord: token.single_word === true
    })
  const idOf = new Map(texts.map((text, id) => [text, id]))
  const found = (name: typeof settings.bos_token, usual: number | undefined): number | undefined =>
    name == null ? usual : idOf.get(typeof name === "string" ? name : name.content)
  const bosId = found(settings.bos_token ?? map.bos_token, file.bosId)
  const eosId = found(settings.eos_token ?? map.eos_token, file.eosId)
  for (const id of [bosId, eosId])
    if (id !== undefined) {
      specials.set(texts[id]!, id)
      named.set(texts[id]!, id)
    }
  const ends = [...specials].filter(([name]) => endsOfTurn.has(name)).map(([, id]) => id)
  const encode = stretchEncoder(file)
  const split = splitSpecials(named, rules)
  const legacy = settings.legacy ?? false
  const prefix = settings.add_prefix_space ?? true
  const before = (settings.add_bos_token ?? true) && bosId !== undefined ? [bosId] : []
  const after = (settings.add_eos_token ?? false) && eosId !== undefined ? [eosId] : []
  return makeTokenizer({
    pieces: piecesOf(texts.length, (id) => bytesOfPiece(file, texts[id] ?? "", id)),
    specials,
    bosId,
    eosId,
    stopIds: [...new Set([...(eosId === undefined ? [] : [eosId]), ...ends])],
    spacePrefix: prefix && file.normalizer.addDummyPrefix && !file.normalizer.spaceAsSuffix,
    encode: (text, { addSpecial }) => {
      const ids: Array<number> = addSpecial ? [...before] : []
      let first = true
      for (const part of split(wellFormed(text))) {
        if (typeof part === "number") ids.push(part)
        else encode(part, prefix && (legacy || first), ids)
        first = false
      }
      if (addSpecial) ids.push(...after)
      return ids
    }
  })
}

/** Ids may have gaps, but an added token with a huge id would make a huge table. */
const SPARE = 100_000

const namesOf = (file: SentencePieceModel) => {
  const named = new Map<string, number>()
  const specials = new Map<string, number>()
  file.pieces.forEach((piece, id) => {
    if (file.kinds[id] !== KIND.control && file.kinds[id] !== KIND.unknown) return
    specials.set(piece, id)
    named.set(piece, id)
  })
  return { texts: [...file.pieces], named, specials, rules: new Map<string, NameRules>() }
}

const utf8 = new TextEncoder()

const bytesOfPiece = (file: SentencePieceModel, text: string, id: number): Uint8Array => {
  if (text !== file.pieces[id]) return utf8.encode(text)
  if (file.kinds[id] === KIND.byte) return Uint8Array.of(Number.parseInt(text.slice(3, 5), 16))
  return utf8.encode(
    file.kinds[id] === KIND.normal || file.kinds[id] === KIND.userDefined ? text.replaceAll("▁", " ") : text
  )
}

/** The ids of a text between two named tokens. */
const stretchEncoder = (file: SentencePieceModel): ((text: string, dummy: boolean, into: Array<number>) => void) => {
  const { pieces, kinds, scores, unknownId, byteFallback } = file
  const usable = (id: number): boolean => kinds[id] === KIND.normal || kinds[id] === KIND.userDefined
  const idOf = new Map(pieces.flatMap((piece, id) => (usable(id) ? [[piece, id] as const] : [])))
  const reserved = new Map(pieces.map((piece, id) => [piece, id]))
  const byteIds = Array.from({ length: 256 }, (_, byte) => (byteFallback ? reserved.get(byteName(byte))! : unknownId))
  const userDefined = new Map(
    pieces.flatMap((piece, id) => (kinds[id] === KIND.userDefined ? [[piece, id] as const] : []))
  )
  const normalize = sentencePieceNormalizer(file.normalizer, userDefined)
  if (file.algorithm === "bpe") {
    const words = [...idOf.keys()].filter((piece) => !userDefined.has(piece))
    const merge = byWords(words, (text) => mergeByScore({ idOf, scores, byteIds }, text))
    const split = splitSpecials(userDefined)
    return (text, dummy, into) => {
      const ids: Array<number> = []
      for (const part of split(normalize(text, dummy)))
        if (typeof part === "number") ids.push(part)
        else merge(part, ids)
      pushFusing(ids, unknownId, into)
    }
  }
  const best = unigram({
    pieces,
    scores,
    unknownId,
    usable,
    always: (id) => kinds[id] === KIND.userDefined,
    keep: Math.fround
  })
  return (text, dummy, into) => {
    const ids: Array<number> = []
    const normal = normalize(text, dummy)
    best(normal, (id, start, end) => {
      if (id !== unknownId) ids.push(id)
      else for (const byte of utf8.encode(normal.slice(start, end))) ids.push(byteIds[byte]!)
    })
    pushFusing(ids, unknownId, into)
  }
}

/** A run of unknown characters is one token. */
const pushFusing = (ids: ReadonlyArray<number>, unknownId: number, into: Array<number>): void => {
  for (const [i, id] of ids.entries()) if (id !== unknownId || ids[i - 1] !== id) into.push(id)
}
