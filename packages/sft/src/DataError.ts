/**
 * What can be wrong with data, each with its place, what was there, what was wanted and what to do. They are the error
 * channel of everything this package does with files; a wrong call of plain code throws a RangeError or TypeError.
 */
import { NotEnoughDisk } from "@graft/safetensors"
import { Schema } from "effect"
import { Place, showPlace } from "./Place.ts"

export class UnreadableData extends Schema.TaggedError<UnreadableData>()("UnreadableData", {
  file: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.file}: ${this.problem}`
  }
}

export class MalformedRow extends Schema.TaggedError<MalformedRow>()("MalformedRow", {
  place: Place,
  problem: Schema.String
}) {
  override get message(): string {
    return `${showPlace(this.place)}: ${this.problem}`
  }
}

export class MissingColumns extends Schema.TaggedError<MissingColumns>()("MissingColumns", {
  place: Place,
  found: Schema.Array(Schema.String),
  wanted: Schema.String,
  hint: Schema.String
}) {
  override get message(): string {
    const found = this.found.length === 0 ? "no columns" : `the columns ${this.found.join(", ")}`
    return `${showPlace(this.place)}: the row has ${found}; wanted ${this.wanted}. ${this.hint}`
  }
}

export class InvalidColumn extends Schema.TaggedError<InvalidColumn>()("InvalidColumn", {
  place: Place,
  column: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${showPlace(this.place)}: column ${this.column}: ${this.problem}`
  }
}

export class NoTokenizer extends Schema.TaggedError<NoTokenizer>()("NoTokenizer", {
  place: Place,
  column: Schema.String
}) {
  override get message(): string {
    return (
      `${showPlace(this.place)}: column ${this.column} is text, and the model has no tokenizer. ` +
      "Add its tokenizer.json to the model folder, or give rows already tokenised (input_ids, optionally labels)"
    )
  }
}

export class NoChatTemplate extends Schema.TaggedError<NoChatTemplate>()("NoChatTemplate", {
  place: Place,
  templates: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return (
      `${showPlace(this.place)}: the row is a conversation, and the model has no chat template. ` +
      `Name one (${this.templates.join(", ")}), or give prompt and completion as text`
    )
  }
}

export class TemplateFailed extends Schema.TaggedError<TemplateFailed>()("TemplateFailed", {
  place: Place,
  problem: Schema.String
}) {
  override get message(): string {
    return `${showPlace(this.place)}: the chat template does not take this conversation: ${this.problem}`
  }
}

export class TokenOutsideVocabulary extends Schema.TaggedError<TokenOutsideVocabulary>()("TokenOutsideVocabulary", {
  place: Place,
  position: Schema.Int,
  token: Schema.Finite,
  vocabularySize: Schema.Int
}) {
  override get message(): string {
    return (
      `${showPlace(this.place)}: token ${this.token} at position ${this.position} is outside the model's vocabulary ` +
      `of ${this.vocabularySize}. The rows were tokenised for another model, or the tokenizer has more tokens than the model`
    )
  }
}

export class SequenceBeyondPositions extends Schema.TaggedError<SequenceBeyondPositions>()("SequenceBeyondPositions", {
  place: Schema.NullOr(Place),
  tokens: Schema.Int,
  positions: Schema.Int
}) {
  override get message(): string {
    const what = this.place === null ? `maxLength is ${this.tokens}` : `${showPlace(this.place)}: ${this.tokens} tokens`
    const cure =
      this.place === null ? `Lower it to ${this.positions}` : `Give maxLength ${this.positions} to cut such rows`
    return `${what}, and the model has ${this.positions} positions. ${cure}`
  }
}

export class EmptyDataset extends Schema.TaggedError<EmptyDataset>()("EmptyDataset", {
  files: Schema.Array(Schema.String),
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.files.join(", ")}: ${this.problem}`
  }
}

export class NothingSupervised extends Schema.TaggedError<NothingSupervised>()("NothingSupervised", {
  files: Schema.Array(Schema.String),
  rows: Schema.Int,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.files.join(", ")}: none of the ${this.rows} rows has a token to learn: ${this.problem}`
  }
}

export class SpillFailed extends Schema.TaggedError<SpillFailed>()("SpillFailed", {
  folder: Schema.String,
  bytes: Schema.Finite,
  problem: Schema.String
}) {
  override get message(): string {
    return (
      `the tokens beyond the memory budget cannot be written to ${this.folder} (${this.problem}); ` +
      `wanted room for ${this.bytes} bytes and more. Set TMPDIR to a larger disk, or raise memoryBytes`
    )
  }
}

export class UnfitData extends Schema.TaggedError<UnfitData>()("UnfitData", {
  /** Of the findings. */
  codes: Schema.Array(Schema.String),
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.problem}\nTo train on it all the same, allow ${this.codes.join(", ")}`
  }
}

export type DataError =
  | UnreadableData
  | MalformedRow
  | MissingColumns
  | InvalidColumn
  | NoTokenizer
  | NoChatTemplate
  | TemplateFailed
  | TokenOutsideVocabulary
  | SequenceBeyondPositions
  | EmptyDataset
  | NothingSupervised
  | SpillFailed
  | UnfitData
  | NotEnoughDisk

const classes = [
  UnreadableData,
  MalformedRow,
  MissingColumns,
  InvalidColumn,
  NoTokenizer,
  NoChatTemplate,
  TemplateFailed,
  TokenOutsideVocabulary,
  SequenceBeyondPositions,
  EmptyDataset,
  NothingSupervised,
  SpillFailed,
  UnfitData,
  NotEnoughDisk
]

/** Whether something thrown is about the data, as opposed to a mistake of the program. */
export const isDataError = (error: unknown): error is DataError => classes.some((known) => error instanceof known)

/** A data error as structured cloning can send it. */
export interface DataErrorFields {
  readonly tag: string
  readonly fields: Readonly<Record<string, unknown>>
}
export const fieldsOfDataError = (error: DataError): DataErrorFields => ({
  tag: error._tag,
  fields: Object.fromEntries(Object.entries(error).filter(([name]) => name !== "_tag"))
})
export const dataErrorOf = ({ tag, fields }: DataErrorFields): unknown => {
  const known = classes.find(({ identifier }) => identifier === tag)
  // The fields are those that an error of this class had.
  return known === undefined ? new Error(`internal: ${tag}`) : new (known as new (of: object) => DataError)(fields)
}
