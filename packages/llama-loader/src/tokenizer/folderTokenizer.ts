/**
 * The tokenizer of a Hugging Face folder: tokenizer.json, run by encoders of ours for the usual kinds and by
 * @huggingface/tokenizers for the rest, with what tokenizer_config.json and special_tokens_map.json add. Decoding is our own, from the bytes of each token, so that generated text can be shown as it
 * comes.
 */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers"
import { Schema } from "effect"
import { byteLevelBytes } from "./byteLevel.ts"
import { byteLevelEncoder } from "./byteLevelEncoder.ts"
import { endsOfTurn } from "./endsOfTurn.ts"
import { pieceEncoder } from "./pieceEncoder.ts"
import { piecesOf } from "./pieces.ts"
import { tokensAround } from "./postProcessing.ts"
import { makeTokenizer, type Tokenizer, TokenizerError } from "./Tokenizer.ts"
import { ScoredPieces, TokenIds } from "./vocabularyJson.ts"

const TokenId = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 24 }, { message: "expected a token id" }))
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))
const AddedToken = Schema.Struct({ id: TokenId, content: Schema.String, special: optional(Schema.Boolean) })

/** What is read of tokenizer.json here; the library reads the rest. */
const TokenizerJson = Schema.Struct({
  added_tokens: optional(Schema.Array(AddedToken)),
  decoder: optional(
    Schema.Struct({ type: Schema.String, decoders: optional(Schema.Array(Schema.Struct({ type: Schema.String }))) })
  ),
  normalizer: optional(Schema.Unknown),
  pre_tokenizer: optional(Schema.Unknown),
  model: Schema.Struct({
    type: optional(Schema.String),
    vocab: Schema.Union([TokenIds, ScoredPieces])
  })
})
const decodeJson = Schema.decodeUnknownSync(TokenizerJson)

/** A token by its text, as a string or as an object with `content`. */
const Named = optional(Schema.Union([Schema.String, Schema.Struct({ content: Schema.String })]))
const TokenizerConfig = Schema.Struct({
  bos_token: Named,
  eos_token: Named,
  tokenizer_class: optional(Schema.String),
  add_bos_token: optional(Schema.Boolean),
  add_eos_token: optional(Schema.Boolean),
  added_tokens_decoder: optional(
    Schema.Record(Schema.String, Schema.Struct({ content: Schema.String, special: optional(Schema.Boolean) }))
  )
})
const decodeConfig = Schema.decodeUnknownSync(TokenizerConfig)
const decodeMap = Schema.decodeUnknownSync(Schema.Struct({ bos_token: Named, eos_token: Named }))

export interface TokenizerFiles {
  /** tokenizer.json's path, for messages. */
  readonly path: string
  /** The three files as parsed JSON; the latter two may be absent. */
  readonly tokenizer: unknown
  readonly config: unknown
  readonly specialTokensMap: unknown
}

/** @throws TokenizerError */
export const folderTokenizer = ({ path, tokenizer, config, specialTokensMap }: TokenizerFiles): Tokenizer => {
  // Closures of one function keep all that any of them names: what lives on is made by functions of its own.
  const fail = failing(path)
  const attempt = attempting(fail)
  const json = attempt("", () => decodeJson(tokenizer))
  const settings = attempt("beside it, tokenizer_config.json: ", () => decodeConfig(config ?? {}))
  const map = attempt("beside it, special_tokens_map.json: ", () => decodeMap(specialTokensMap ?? {}))

  const added = new Map((json.added_tokens ?? []).map((token) => [token.id, token]))
  const extra: Array<Record<string, unknown>> = []
  for (const [id, token] of Object.entries(settings.added_tokens_decoder ?? {})) {
    if (added.has(Number(id)) || !/^\d{1,8}$/.test(id)) continue
    added.set(Number(id), { id: Number(id), content: token.content, special: token.special ?? false })
    extra.push({ ...token, id: Number(id) })
  }
  const raw = tokenizer as Readonly<Record<string, unknown>> // an object: it has been decoded
  const whole = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...raw,
    added_tokens: [...((raw["added_tokens"] as ReadonlyArray<unknown>) ?? []), ...extra]
  }
  const texts: Array<string> = []
  const { vocab } = json.model
  if (isPieces(vocab)) for (const [id, [piece]] of vocab.entries()) texts[id] = piece
  else for (const [token, id] of Object.entries(vocab)) texts[id] = token
  for (const { id, content } of added.values()) texts[id] = content
  const count = Object.keys(vocab).length + added.size
  if (texts.length > 2 * count + SPARE) return fail(`it has ${count} tokens, and ids up to ${texts.length - 1}`)
  const find = (name: string): number | undefined => {
    const named = [...added.values()].find(({ content }) => content === name)
    if (named !== undefined) return named.id
    const id = isPieces(vocab)
      ? vocab.findIndex(([piece]) => piece === name)
      : Object.hasOwn(vocab, name)
        ? vocab[name]
        : -1
    return id === -1 ? undefined : id
  }
  const idOf = (name: string | { readonly content: string } | null | undefined): number | undefined =>
    name == null ? undefined : find(typeof name === "string" ? name : name.content)
  const specials = new Map<string, number>()
  for (const { id, content, special } of added.values()) if (special === true) specials.set(content, id)
  const bosId = idOf(settings.bos_token ?? map.bos_token)
  const eosId = idOf(settings.eos_token ?? map.eos_token)
  const ends = [...specials].filter(([name]) => endsOfTurn.has(name)).map(([, id]) => id)
  const kinds = [json.decoder?.type, ...(json.decoder?.decoders ?? []).map((decoder) => decoder.type)]
  const bytesOf = pieceReader(kinds, fail)
  const known = Uint8Array.from({ length: texts.length }, (_, id) => Number(texts[id] !== undefined))
  const run = encoderOf(whole, find, known, fail)
  run("a", true) // what is found wrong only when a text is encoded should be found now
  return makeTokenizer({
    pieces: piecesOf(texts.length, (id) =>
      texts[id] === undefined ? NOTHING : added.has(id) ? utf8.encode(texts[id]) : bytesOf(texts[id])
    ),
    specials,
    bosId,
    eosId,
    stopIds: [...new Set([...(eosId === undefined ? [] : [eosId]), ...ends])],
    spacePrefix: !kinds.includes("ByteLevel") && putsSpaceFirst(json),
    encode: encoder(run, settings, bosId, eosId)
  })
}

type Fail = (what: string) => never
const failing =
  (path: string): Fail =>
  (what) => {
    throw new TokenizerError({ message: `${path} cannot be used: ${what}`, path })
  }
const attempting =
  (fail: Fail) =>
  <A>(what: string, act: () => A): A => {
    try {
      return act()
    } catch (cause) {
      return fail(`${what}${cause instanceof Error ? cause.message : String(cause)}`)
    }
  }

type Run = (text: string, addSpecial: boolean) => Array<number>

/** The library, which holds every text of the vocabulary several times, is made only where it is needed. */
const encoderOf = (
  whole: Readonly<Record<string, unknown>>,
  find: (name: string) => number | undefined,
  known: Uint8Array,
  fail: Fail
): Run => {
  const attempt = attempting(fail)
  const fast = attempt("", () => byteLevelEncoder(whole) ?? pieceEncoder(whole))
  const around = fast && tokensAround(whole["post_processor"])
  const [before, after] = [around?.before.map(find) ?? [undefined], around?.after.map(find) ?? [undefined]]
  if (fast !== undefined && allDefined(before) && allDefined(after)) return surrounded(fast, before, after, known, fail)
  const slow = byLibrary(
    attempt("", () => new HuggingFaceTokenizer(whole, {})),
    known,
    fail
  )
  return fast === undefined ? slow : fastUnlessSpecial(fast, slow, known, fail)
}
const fastUnlessSpecial =
  (fast: (text: string) => Array<number>, slow: Run, known: Uint8Array, fail: Fail): Run =>
  (text, addSpecial) =>
    addSpecial ? slow(text, true) : knownIds(text, fast(text), known, fail)
const allDefined = (ids: ReadonlyArray<number | undefined>): ids is ReadonlyArray<number> => !ids.includes(undefined)

const byLibrary =
  (library: HuggingFaceTokenizer, known: Uint8Array, fail: Fail): Run =>
  (text, addSpecial) => {
    const { ids } = attempting(fail)("", () => library.encode(text, { add_special_tokens: addSpecial }))
    return knownIds(text, ids, known, fail)
  }
const surrounded =
  (
    fast: (text: string) => Array<number>,
    before: ReadonlyArray<number>,
    after: ReadonlyArray<number>,
    known: Uint8Array,
    fail: Fail
  ): Run =>
  (text, addSpecial) => {
    const ids = fast(text)
    return knownIds(text, addSpecial ? [...before, ...ids, ...after] : ids, known, fail)
  }
const knownIds = (text: string, ids: Array<number>, known: Uint8Array, fail: Fail): Array<number> => {
  const unknown = ids.findIndex((id) => known[id] !== 1)
  return unknown < 0
    ? ids
    : fail(`it makes a token of ${JSON.stringify(text.slice(0, 40))} that is not in its vocabulary`)
}

const isPieces = (
  vocab: (typeof TokenizerJson.Type)["model"]["vocab"]
): vocab is ReadonlyArray<readonly [string, number]> => Array.isArray(vocab)

const utf8 = new TextEncoder()
const NOTHING = new Uint8Array(0)
/** Ids may have gaps, but a few tokens with huge ids would make a huge table. */
const SPARE = 100_000

/** How a token's text becomes bytes, by the kinds of decoders that the file names. */
const pieceReader = (kinds: ReadonlyArray<string | undefined>, fail: Fail): ((text: string) => Uint8Array) => {
  if (kinds.includes("ByteLevel")) return byteLevelBytes
  if (!kinds.some((kind) => kind === "ByteFallback" || kind === "Metaspace" || kind === "Replace"))
    return fail(
      `its decoder is ${kinds.filter((kind) => kind !== undefined).join(", ") || "absent"}; byte-level BPE and SentencePiece are known`
    )
  const hasBytes = kinds.includes("ByteFallback")
  return (text) =>
    hasBytes && /^<0x[0-9A-Fa-f]{2}>$/.test(text)
      ? Uint8Array.of(Number.parseInt(text.slice(3, 5), 16))
      : utf8.encode(text.replaceAll("▁", " "))
}

/** Whether the file's normaliser or pre-tokenizer writes a space before a text: one of them is named anywhere in it. */
const putsSpaceFirst = (json: typeof TokenizerJson.Type): boolean => {
  const text = JSON.stringify([json.normalizer, json.pre_tokenizer])
  return /"type":"Prepend"/.test(text) || (/"type":"Metaspace"/.test(text) && !/"prepend_scheme":"never"/.test(text))
}

/** transformers' LlamaTokenizer builds its own template from the two settings; other classes follow the file. */
const encoder = (
  run: (text: string, addSpecial: boolean) => Array<number>,
  settings: typeof TokenizerConfig.Type,
  bosId: number | undefined,
  eosId: number | undefined
): Tokenizer["encode"] => {
  const own = /^(Code)?LlamaTokenizer/.test(settings.tokenizer_class ?? "")
  const { add_bos_token: addBos, add_eos_token: addEos } = settings
  if (!own || (addBos == null && addEos == null)) return (text, { addSpecial }) => run(text, addSpecial)
  const before = (addBos ?? true) && bosId !== undefined ? [bosId] : []
  const after = (addEos ?? false) && eosId !== undefined ? [eosId] : []
  return (text, { addSpecial }) => (addSpecial ? [...before, ...run(text, false), ...after] : run(text, false))
}
