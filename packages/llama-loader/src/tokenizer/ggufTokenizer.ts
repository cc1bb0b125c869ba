/**
 * The tokenizer in a GGUF's metadata (docs/gguf.md, "Tokenizer"): `gpt2`, byte-level BPE by merges, or `llama`, SentencePiece
 * BPE by scores. Ids are llama.cpp's; the tests compare them.
 */

import type { GgufFile, GgufValue } from "@graft/gguf"
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers"
import { byteLevelBytes } from "./byteLevel.ts"
import { byteLevelEncoder } from "./byteLevelEncoder.ts"
import { endsOfTurn } from "./endsOfTurn.ts"
import { piecesOf } from "./pieces.ts"
import { preTokenizers } from "./preTokenizers.ts"
import { sentencePieceTokenizer } from "./sentencePiece.ts"
import { byteName } from "./sentencePieceModel.ts"
import { makeTokenizer, type Tokenizer, TokenizerError } from "./Tokenizer.ts"

// Kinds of tokens (gguf-py/gguf/constants.py, TokenType).
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const BYTE = 6

interface GgufVocabulary {
  readonly tokens: ReadonlyArray<string>
  readonly kinds: ArrayLike<number>
  /** No text of their own: control tokens, and what only looks like text but ends a turn. */
  readonly specials: ReadonlyMap<string, number>
  /** Recognised by name in a text. */
  readonly named: ReadonlyMap<string, number>
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly stopIds: ReadonlyArray<number>
  readonly flag: (key: string) => boolean | undefined
}

/** `undefined` for a GGUF without a tokenizer. @throws TokenizerError */
export const ggufTokenizer = (file: GgufFile): Tokenizer | undefined => {
  const { path, metadata } = file
  const fail = (what: string): never => {
    throw new TokenizerError({ message: `the tokenizer in ${path} cannot be used: ${what}`, path })
  }
  const get = (key: string): GgufValue | undefined => metadata.get(`tokenizer.ggml.${key}`)
  const model = get("model")
  if (model === undefined || model === "none" || model === "no_vocab") return undefined
  if (model === "gpt2") return byteLevel(readVocabulary(get, fail), get, fail)
  if (model === "llama") return sentencePiece(readVocabulary(get, fail), get, fail)
  return fail(`it is of the kind ${JSON.stringify(model)}; gpt2 and llama are known`)
}

type Get = (key: string) => GgufValue | undefined
type Fail = (what: string) => never

const isStrings = (value: GgufValue | undefined): value is ReadonlyArray<string> =>
  Array.isArray(value) && (value.length === 0 || typeof value[0] === "string") // arrays of a GGUF are of one type

const readVocabulary = (get: Get, fail: Fail): GgufVocabulary => {
  const listed = get("tokens")
  if (!isStrings(listed) || listed.length === 0) return fail("it has no list of tokens")
  const tokens = listed.map((token, id) => (token === "" ? `[EMPTY_${id}]` : token))
  const kinds = get("token_type") ?? new Int32Array(tokens.length).fill(1)
  if (!(kinds instanceof Int32Array || kinds instanceof Uint32Array) || kinds.length < tokens.length)
    return fail("token_type does not give each token its kind")
  const id = (kind: string): number | undefined => {
    const value = get(`${kind}_token_id`)
    return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < tokens.length
      ? value
      : undefined
  }
  const specials = new Map<string, number>()
  const named = new Map<string, number>()
  const ends: Array<number> = []
  tokens.forEach((token, i) => {
    const endsTurn = endsOfTurn.has(token)
    if (endsTurn) ends.push(i)
    if (kinds[i] === CONTROL || kinds[i] === UNKNOWN || endsTurn) specials.set(token, i)
    if (specials.has(token) || kinds[i] === USER_DEFINED) named.set(token, i)
  })
  const eosId = id("eos")
  const stops = [eosId, id("eot"), id("eom"), ...ends]
  return {
    tokens,
    kinds,
    specials,
    named,
    bosId: id("bos"),
    eosId,
    stopIds: [...new Set(stops.filter((stop) => stop !== undefined))],
    flag: (key) => {
      const value = get(key)
      return typeof value === "boolean" ? value : undefined
    }
  }
}

const utf8 = new TextEncoder()
const utf8Bytes = (text: string): Uint8Array => utf8.encode(text)

const byteLevel = (vocabulary: GgufVocabulary, get: Get, fail: Fail): Tokenizer => {
  const { tokens, kinds, named, bosId, eosId, flag } = vocabulary
  const pre = get("pre") ?? "default"
  const words = preTokenizers.get(String(pre))
  if (words === undefined)
    return fail(`it cuts words by the rule ${JSON.stringify(pre)}; known are ${[...preTokenizers.keys()].join(", ")}`)
  const merges = get("merges")
  if (!isStrings(merges)) return fail("it has no list of merges")
  const split = (expression: string) => ({
    type: "Split",
    pattern: { Regex: expression },
    behavior: "Isolated",
    invert: false
  })
  const json = {
    added_tokens: [...named].map(([content, id]) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [...words.expressions.map(split), { type: "ByteLevel", add_prefix_space: false, use_regex: false }]
    },
    post_processor: null,
    decoder: null,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      // A token may begin with a space, but none is only that.
      merges: merges.map((merge) => {
        const at = merge.indexOf(" ", 1)
        return [merge.slice(0, at), merge.slice(at + 1)]
      }),
      unk_token: null,
      ignore_merges: words.ignoreMerges
    }
  }
  const encode = byteLevelEncoder(json) ?? libraryEncoder(json)
  const before = (flag("add_bos_token") ?? words.addBos) && bosId !== undefined ? [bosId] : []
  const after = (flag("add_eos_token") ?? false) && eosId !== undefined ? [eosId] : []
  return makeTokenizer({
    ...vocabulary,
    pieces: piecesOf(tokens.length, (id) => (kinds[id] === 1 ? byteLevelBytes : utf8Bytes)(tokens[id]!)),
    spacePrefix: false,
    encode: (text, { addSpecial }) => {
      const ids = encode(text)
      return addSpecial ? [...before, ...ids, ...after] : ids
    }
  })
}

const libraryEncoder = (json: object): ((text: string) => Array<number>) => {
  const library = new HuggingFaceTokenizer(json, {})
  return (text) => library.encode(text, { add_special_tokens: false }).ids
}

const sentencePiece = (vocabulary: GgufVocabulary, get: Get, fail: Fail): Tokenizer => {
  const { tokens, kinds, flag } = vocabulary
  const scores = get("scores") ?? new Float32Array(tokens.length)
  if (!(scores instanceof Float32Array || scores instanceof Int32Array) || scores.length < tokens.length)
    return fail("scores does not give each token its score")
  const idOf = new Map(tokens.map((token, id) => [token, id]))
  const unknown = tokens.findIndex((_, id) => kinds[id] === UNKNOWN)
  const byteIds = Array.from({ length: 256 }, (_, byte) => {
    return idOf.get(byteName(byte)) ?? idOf.get(String.fromCharCode(byte)) ?? unknown
  })
  if (byteIds.includes(-1)) return fail("it has neither a token for each byte nor one for the unknown")
  return sentencePieceTokenizer({
    ...vocabulary,
    idOf,
    scores,
    byteIds,
    addBos: flag("add_bos_token") ?? true,
    addEos: flag("add_eos_token") ?? false,
    spacePrefix: flag("add_space_prefix") ?? true,
    pieces: piecesOf(tokens.length, (id) => {
      const token = tokens[id]!
      if (kinds[id] === BYTE && /^<0x[0-9A-F]{2}>$/.test(token))
        return Uint8Array.of(Number.parseInt(token.slice(3, 5), 16))
      return utf8.encode(kinds[id] === 1 ? token.replaceAll("▁", " ") : token)
    })
  })
}
