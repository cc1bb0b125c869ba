/** Text to token ids and back, whichever file the vocabulary came from. */
import { Schema } from "effect"
import type { Pieces } from "./pieces.ts"

export class TokenizerError extends Schema.TaggedError<TokenizerError>()("TokenizerError", {
  message: Schema.String,
  path: Schema.String
}) {}

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabularySize: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  /** Tokens after which a text is over: the end of text and the end of a turn. */
  readonly stopIds: ReadonlyArray<number>
  /** Tokens that are no text, by what stands for them in a prompt: `<|im_end|>` → 2. */
  readonly specials: ReadonlyMap<string, number>
  /**
   * Names of special tokens in the text become those tokens. `addSpecial` also puts what the model wants at the start and
   * end of a text, often BOS.
   */
  readonly encode: (text: string, options: { readonly addSpecial: boolean }) => Array<number>
  /** Bytes that are not UTF-8 become U+FFFD; nothing else is changed, no spaces are "cleaned up". */
  readonly decode: (ids: ReadonlyArray<number>, options?: { readonly skipSpecial?: boolean }) => string
  /** The bytes that one token stands for within a text: often not a whole character. */
  readonly bytesOf: (id: number) => Uint8Array
}

/** What a kind of vocabulary brings; the rest is the same for all. */
export interface Vocabulary {
  readonly pieces: Pieces
  readonly specials: ReadonlyMap<string, number>
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly stopIds: ReadonlyArray<number>
  readonly encode: Tokenizer["encode"]
  /** The encoder puts a space before a text, which decoding takes away again. */
  readonly spacePrefix: boolean
}

const SPACE = 0x20

export const makeTokenizer = (vocabulary: Vocabulary): Tokenizer => {
  const { pieces, specials, bosId, eosId, stopIds, encode, spacePrefix } = vocabulary
  const specialIds = new Set(specials.values())
  const bytesOf = (id: number): Uint8Array => {
    const piece = pieces.of(id)
    if (piece === undefined)
      throw new RangeError(`decode: token ${id} is none of the ${pieces.count} in the vocabulary`)
    return piece
  }
  return {
    vocabularySize: pieces.count,
    bosId,
    eosId,
    stopIds,
    specials,
    encode,
    bytesOf,
    decode: (ids, { skipSpecial = false } = {}) => {
      const shown = skipSpecial ? ids.filter((id) => !specialIds.has(id)) : ids
      const parts = shown.map(bytesOf)
      const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
      let at = 0
      for (const part of parts) {
        bytes.set(part, at)
        at += part.length
      }
      const strip = spacePrefix && bytes[0] === SPACE && !specialIds.has(shown[0]!)
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(strip ? bytes.subarray(1) : bytes)
    }
  }
}
