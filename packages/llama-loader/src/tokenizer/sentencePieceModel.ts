/**
 * Reads SentencePiece's `tokenizer.model`, a message of pieces with what trained it and how text is normalised
 * (google/sentencepiece, src/sentencepiece_model.proto). What changes ids and is not known here is refused.
 */
import { type CharsMap, readCharsMap } from "./charsMap.ts"
import { type Field, fieldsOf, floatOf, MalformedMessage } from "./protobuf.ts"

export const KIND = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface SentencePieceModel {
  readonly algorithm: "unigram" | "bpe"
  /** By id. */
  readonly pieces: ReadonlyArray<string>
  readonly scores: Float32Array
  /** Of `KIND`. */
  readonly kinds: Uint8Array
  readonly unknownId: number
  /** As the file's trainer named them; absent where there is no such piece. */
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly byteFallback: boolean
  readonly normalizer: {
    readonly charsMap: CharsMap | undefined
    readonly addDummyPrefix: boolean
    readonly removeExtraWhitespaces: boolean
    readonly escapeWhitespaces: boolean
    /** The dummy space goes after the text. */
    readonly spaceAsSuffix: boolean
  }
}

// Fields, by message (sentencepiece_model.proto).
const MODEL = { pieces: 1, trainer: 2, normalizer: 3 } as const
const PIECE = { text: 1, score: 2, kind: 3 } as const
const TRAINER = { modelType: 3, spaceAsSuffix: 24, byteFallback: 35, bosId: 41, eosId: 42 } as const
const NORMALIZER = { charsMap: 2, addDummyPrefix: 3, removeExtraWhitespaces: 4, escapeWhitespaces: 5 } as const
const ALGORITHMS = ["", "unigram", "bpe", "word", "char"] as const
/** More than any vocabulary has; ids must stay small numbers. */
const MOST_PIECES = 2 ** 21

/** @throws MalformedMessage */
export const readSentencePieceModel = (bytes: Uint8Array): SentencePieceModel => {
  const pieces: Array<string> = []
  const scores: Array<number> = []
  const kinds: Array<number> = []
  let trainer: ReadonlyMap<number, Field["value"]> = new Map()
  let normalizer: ReadonlyMap<number, Field["value"]> = new Map()
  for (const { number, value } of fieldsOf(bytes)) {
    if (typeof value === "number") continue
    if (number === MODEL.pieces) {
      if (pieces.length === MOST_PIECES) throw new MalformedMessage(`it has more than ${MOST_PIECES} pieces`)
      const piece = messageOf(value)
      const text = piece.get(PIECE.text)
      pieces.push(text === undefined || typeof text === "number" ? "" : utf8.decode(text))
      scores.push(floatOf(piece.get(PIECE.score) ?? 0))
      kinds.push(numberOf(piece.get(PIECE.kind), KIND.normal))
    } else if (number === MODEL.trainer) trainer = messageOf(value)
    else if (number === MODEL.normalizer) normalizer = messageOf(value)
  }
  if (pieces.length === 0) throw new MalformedMessage("it has no pieces, so that it is no SentencePiece model")
  const odd = pieces.findIndex((piece, id) => piece === "" || !(kinds[id]! >= KIND.normal && kinds[id]! <= KIND.byte))
  if (odd >= 0)
    throw new MalformedMessage(
      `piece ${odd} of ${pieces.length} is ${JSON.stringify(pieces[odd])} of kind ${kinds[odd]}`
    )
  if (!scores.every(Number.isFinite)) throw new MalformedMessage("a piece's score is not finite")
  if (new Set(pieces).size < pieces.length) throw new MalformedMessage("two of its pieces are the same")
  if (kinds.includes(KIND.unused))
    throw new MalformedMessage("some of its pieces are marked unused: a restricted vocabulary is not read")
  const unknowns = kinds.flatMap((kind, id) => (kind === KIND.unknown ? [id] : []))
  if (unknowns.length !== 1) throw new MalformedMessage(`it has ${unknowns.length} pieces for the unknown, not one`)
  const algorithm = ALGORITHMS[numberOf(trainer.get(TRAINER.modelType), 1)]
  if (algorithm !== "unigram" && algorithm !== "bpe")
    throw new MalformedMessage(`it is of the kind ${algorithm || "unknown"}; unigram and bpe are read`)
  const byteFallback = numberOf(trainer.get(TRAINER.byteFallback), 0) !== 0
  const bytePieces = new Set(pieces.filter((_, id) => kinds[id] === KIND.byte))
  const wanted = byteFallback ? Array.from({ length: 256 }, (_, byte) => byteName(byte)) : []
  if (bytePieces.size !== wanted.length || !wanted.every((name) => bytePieces.has(name)))
    throw new MalformedMessage(
      `it ${byteFallback ? "writes unknown characters as bytes" : "does not use bytes"}, and has ${bytePieces.size} pieces for bytes`
    )
  const flag = (key: number): boolean => numberOf(normalizer.get(key), 1) !== 0
  const map = normalizer.get(NORMALIZER.charsMap)
  const named = (key: number, usual: number): number | undefined => {
    const id = numberOf(trainer.get(key), usual)
    return kinds[id] === KIND.control ? id : undefined
  }
  return {
    algorithm,
    pieces,
    scores: Float32Array.from(scores),
    kinds: Uint8Array.from(kinds),
    unknownId: unknowns[0]!,
    bosId: named(TRAINER.bosId, 1),
    eosId: named(TRAINER.eosId, 2),
    byteFallback,
    normalizer: {
      charsMap: map === undefined || typeof map === "number" || map.length === 0 ? undefined : readCharsMap(map),
      addDummyPrefix: flag(NORMALIZER.addDummyPrefix),
      removeExtraWhitespaces: flag(NORMALIZER.removeExtraWhitespaces),
      escapeWhitespaces: flag(NORMALIZER.escapeWhitespaces),
      spaceAsSuffix: numberOf(trainer.get(TRAINER.spaceAsSuffix), 0) !== 0
    }
  }
}

/** The piece of a byte. */
export const byteName = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true })

/** The last value of each field, as protobuf wants it. */
const messageOf = (bytes: Uint8Array): ReadonlyMap<number, Field["value"]> => {
  const fields = new Map<number, Field["value"]>()
  for (const { number, value } of fieldsOf(bytes)) fields.set(number, value)
  return fields
}

const numberOf = (value: Field["value"] | undefined, usual: number): number =>
  typeof value === "number" ? value : usual
