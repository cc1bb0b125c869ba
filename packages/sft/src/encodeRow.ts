/**
 * Turns a row into tokens and what of them is learnt.
 *
 * - `text` is learnt whole, or with `responses` what stands after each response part; `prompt` + `completion` learns the completion; a conversation the assistant's answers; rows already
 *   tokenised what their labels say, or everything without labels.
 * - Text and completions get the tokenizer's leading specials (BOS) and EOS, each once. Conversations are the template's
 *   business alone: nothing is added to what it renders.
 * - A sequence that is too long keeps its start. A long document may instead be split into sequences that overlap by one token, so that each
 *   token is learnt once.
 */

import type { ChatTemplate } from "./ChatTemplate.ts"
import {
  InvalidColumn,
  NoChatTemplate,
  NoTokenizer,
  SequenceBeyondPositions,
  TemplateFailed,
  TokenOutsideVocabulary
} from "./DataError.ts"
import { type DataModel, stopIdsOf } from "./DataModel.ts"
import type { FindingCode } from "./DataReport.ts"
import { type EncodedPieces, encodePieces } from "./encodePieces.ts"
import type { Place } from "./Place.ts"
import type { Row } from "./Row.ts"
import { type Responses, responsePieces } from "./responsePieces.ts"
import { supervisedPieces } from "./supervisedPieces.ts"
import { leadingSpecials, type Tokenizer } from "./Tokenizer.ts"

export interface EncodeOptions {
  /** Tokens. */
  readonly maxLength: number
  /** Whether the user asked for it: only then are rows cut that came tokenised. */
  readonly maxLengthGiven: boolean
  readonly lossOn: "answers" | "last" | "all"
  /** Of running text and rendered conversations, learn only what follows `from`, up to the next `to`. */
  readonly responses?: Responses | undefined
  readonly templateNames: ReadonlyArray<string>
}

/** `note` is told what is odd about the row. A row of no tokens, or with nothing to learn, gives sequences of that kind. */
export type EncodeRow = (
  row: Row,
  place: Place,
  split: boolean,
  note: (finding: FindingCode) => void
) => ReadonlyArray<Int32Array>

export const rowEncoder = (model: DataModel, options: EncodeOptions): EncodeRow => {
  const stops = new Set(stopIdsOf(model))
  const leading = model.tokenizer === undefined ? [] : leadingSpecials(model.tokenizer)

  return (row, place, split, note) => {
    const { ids, supervised, moved } = encode(row, place, note)
    if (moved) note("border-moved")
    noteEnds(row, ids, supervised, note)
    const bos = model.tokenizer?.bosId
    if (bos !== undefined && ids[0] === bos && ids[1] === bos) note("bos-twice")
    const words = wordsOf(ids, supervised, place)
    const limit = row.kind === "tokens" && !options.maxLengthGiven ? Number.POSITIVE_INFINITY : options.maxLength
    if (words.length <= limit) {
      if (words.length > model.positions) {
        throw new SequenceBeyondPositions({ place, tokens: words.length, positions: model.positions })
      }
      if (stops.size > 0 && words.some((word) => word < 0) && !words.some((word) => word < 0 && stops.has(~word)))
        note("never-stops")
      return [words]
    }
    if (split && row.kind === "text") return splitWords(words, limit)
    note("truncated")
    if (words.subarray(limit).some((word) => word < 0)) note("answer-cut")
    return [words.slice(0, limit)]
  }

  function encode(row: Row, place: Place, note: (finding: FindingCode) => void): EncodedPieces {
    if (row.kind === "tokens") return tokensOf(row, place)
    if (model.tokenizer === undefined) {
      throw new NoTokenizer({ place, column: row.kind === "completion" ? "prompt" : row.kind })
    }
    if (row.kind === "messages") {
      if (model.chatTemplate === undefined) throw new NoChatTemplate({ place, templates: options.templateNames })
      if (row.messages.some(isEmptyTurn)) note("empty-turn")
      return encodeConversation(model.tokenizer, model.chatTemplate, row, options, place)
    }
    if (row.kind === "text" && options.responses !== undefined) {
      // The text is what a template wrote, which ends its answers itself.
      const encoded = encodePieces(model.tokenizer, responsePieces(row.text, options.responses))
      return withSpecials(model.tokenizer, leading, encoded, false)
    }
    const all = options.lossOn === "all"
    const pieces =
      row.kind === "text"
        ? [{ text: row.text, supervised: true }]
        : [
            { text: row.prompt, supervised: all },
            { text: row.completion, supervised: true }
          ]
    if (pieces.at(-1)!.text.trim() === "") note("empty-turn")
    return withSpecials(model.tokenizer, leading, encodePieces(model.tokenizer, pieces))
  }

  /** Looks at the tokens that end generation: whether they are learnt where they should be. */
  function noteEnds(
    row: Row,
    ids: ReadonlyArray<number>,
    supervised: ReadonlyArray<boolean>,
    note: (finding: FindingCode) => void
  ): void {
    if (row.kind === "tokens") {
      const hidden = row.endHidden !== undefined && stops.has(row.endHidden)
      if (
        (hidden && !stops.has(ids.at(-1) ?? -1) && supervised.at(-1) === true) ||
        ids.some((id, t) => t > 1 && stops.has(id) && supervised[t] !== true && supervised[t - 1] === true)
      )
        note("end-masked")
    } else if (row.kind === "text" && options.responses === undefined) {
      const end = ids.findIndex((id, t) => t > 0 && stops.has(id))
      if (end >= 0 && ids.length - end > 3) note("conversation-as-text")
    }
  }

  function wordsOf(ids: ReadonlyArray<number>, supervised: ReadonlyArray<boolean>, place: Place): Int32Array {
    const words = new Int32Array(ids.length)
    for (let t = 0; t < ids.length; t++) {
      const id = ids[t]!
      if (!(id >= 0 && id < model.vocabularySize)) {
        throw new TokenOutsideVocabulary({ place, position: t, token: id, vocabularySize: model.vocabularySize })
      }
      words[t] = t > 0 && supervised[t] === true ? ~id : id
    }
    return words
  }
}

const tokensOf = (row: Row & { readonly kind: "tokens" }, place: Place): EncodedPieces => {
  const { ids, labels } = row
  const wrong = labels?.findIndex((label, t) => label !== -100 && label !== ids[t]) ?? -1
  if (labels !== undefined && wrong >= 0) {
    const shifted = labels.every((label, t) => label === -100 || t + 1 === ids.length || label === ids[t + 1])
    throw new InvalidColumn({
      place,
      column: "labels",
      problem:
        `labels[${wrong}] is ${labels[wrong]} where input_ids[${wrong}] is ${ids[wrong]}; wanted the token itself or -100. ` +
        (shifted
          ? "The labels are shifted by one already; the shift is made in training, so give them unshifted"
          : "Labels are not shifted")
    })
  }
  return {
    ids,
    supervised: labels === undefined ? ids.map(() => true) : labels.map((label) => label !== -100),
    moved: false
  }
}

const encodeConversation = (
  tokenizer: Tokenizer,
  template: ChatTemplate,
  row: Row & { readonly kind: "messages" },
  options: EncodeOptions,
  place: Place
): EncodedPieces => {
  try {
    const pieces =
      options.responses !== undefined
        ? responsePieces(
            template.render(row.messages, { addGenerationPrompt: false, tools: row.tools }),
            options.responses
          )
        : options.lossOn === "all"
          ? [
              {
                text: template.render(row.messages, { addGenerationPrompt: false, tools: row.tools }),
                supervised: true
              }
            ]
          : supervisedPieces(template, row, options.lossOn)
    return encodePieces(tokenizer, pieces)
  } catch (error) {
    throw new TemplateFailed({ place, problem: error instanceof Error ? error.message : String(error) })
  }
}

const withSpecials = (
  tokenizer: Tokenizer,
  leading: ReadonlyArray<number>,
  { ids, supervised, moved }: EncodedPieces,
  ends = true
): EncodedPieces => {
  const front = leading.length > 0 && ids[0] === leading.at(-1) ? leading.slice(0, -1) : leading // the text itself begins with BOS
  const eos = tokenizer.eosId
  const back = !ends || eos === undefined || ids.at(-1) === eos ? [] : [eos]
  return {
    ids: [...front, ...ids, ...back],
    supervised: [...front.map(() => false), ...supervised, ...back.map(() => true)],
    moved
  }
}

/** A turn without words that calls no tool either. */
const isEmptyTurn = (message: { readonly content: string; readonly [key: string]: unknown }): boolean =>
  message.content.trim() === "" && message["tool_calls"] === undefined

const splitWords = (words: Int32Array, limit: number): ReadonlyArray<Int32Array> => {
  const parts: Array<Int32Array> = []
  for (let start = 0; start < words.length - 1; start += limit - 1) {
    const part = words.slice(start, start + limit)
    if (part[0]! < 0) part[0] = ~part[0]!
    parts.push(part)
  }
  return parts
}
