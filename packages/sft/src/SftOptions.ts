/** How data becomes batches: the options, their defaults and their meaning. */
import { decodeOptions, Fraction, NonNegativeInt, PositiveInt, withDefault } from "@graft/core"
import { Schema } from "effect"
import { findingCodes } from "./DataReport.ts"
import { columnNames } from "./readRow.ts"

const Length = Schema.Int.check(
  Schema.isGreaterThan(1, { message: "expected at least 2 tokens: one to see, one to learn" })
)
const Paths = Schema.Union([Schema.NonEmptyString, Schema.NonEmptyArray(Schema.NonEmptyString)])
const Weighted = Schema.Struct({
  path: Schema.NonEmptyString,
  weight: Schema.Finite.check(Schema.isGreaterThan(0, { message: "expected a number above 0" }))
})
const Sources = Schema.Union([
  Schema.NonEmptyString,
  Schema.NonEmptyArray(Schema.Union([Schema.NonEmptyString, Weighted]))
])

export const SftOptions = Schema.Struct({
  /**
   * Files (.jsonl, .json, .csv, .tsv, .parquet, .safetensors, .txt), folders of them, patterns with * and **, or - for JSON
   * Lines from standard input. With a weight w, an epoch has the rows of that source w times.
   */
  data: Sources,
  /** Rows to evaluate on, from files of their own. */
  evaluationData: Schema.optionalKey(Paths),
  /** Or this part of the rows of `data`, drawn by seed. */
  evaluationFraction: withDefault(Fraction, 0),
  /**
   * Tokens a sequence may have; a longer one keeps its start. Unset: 1024, or the model's positions where those are fewer;
   * rows that come tokenised are then never cut.
   */
  maxLength: Schema.optionalKey(Length),
  /** What to do with text beyond maxLength. Unset: .txt files are split into sequences, rows of tables are cut. */
  longText: Schema.optionalKey(Schema.Literals(["cut", "split"])),
  /** Learn the completion and the assistant's answers, only the last of these, or all text. Rows of plain text are learnt whole. */
  lossOn: withDefault(Schema.Literals(["answers", "last", "all"]), "answers"),
  /**
   * Of text that is a rendered conversation already, learn only what follows this text ("<|im_start|>assistant\n"), up to the
   * next `questionPart` ("<|im_start|>user\n"). Conversations are then learnt so too, whatever `lossOn`.
   */
  responsePart: Schema.optionalKey(Schema.NonEmptyString),
  questionPart: Schema.optionalKey(Schema.NonEmptyString),
  /** What the columns are called in the data: { prompt: "question", completion: "answer" }. */
  columns: withDefault(Schema.Record(Schema.String, Schema.String), {}),
  /** Units of a micro-batch: rows, or packs of rows. */
  batchSize: withDefault(PositiveInt, 8),
  /** Micro-batches of a step. */
  gradAccumulationSteps: withDefault(PositiveInt, 1),
  /** Put short rows together into packs of maxLength tokens, each row a document of its own. */
  packing: withDefault(Schema.Boolean, false),
  /**
   * Put units of like length into one micro-batch, of those that the order brings within some 50 steps. Nothing is padded in
   * any case: this evens out how long the micro-batches of a step take.
   */
  groupByLength: withDefault(Schema.Boolean, false),
  /** A new order for each epoch; otherwise the data's. */
  shuffle: withDefault(Schema.Boolean, true),
  seed: withDefault(NonNegativeInt, 0),
  /** Findings that are errors (`end-never-learnt`, …) and are to be no more than a report. */
  allow: withDefault(Schema.Array(Schema.Literals(findingCodes)), []),
  /**
   * Threads that render and tokenise, where rows are many and the model says how its text is made again; the batches are the
   * same for any number. Unset: one for each processor, at most 8; 0: none.
   */
  workers: Schema.optionalKey(NonNegativeInt),
  /** Tokens beyond these bytes lie in a temporary file. */
  memoryBytes: withDefault(NonNegativeInt, 64 * 1024 * 1024)
}).check(
  Schema.makeFilter(({ responsePart, questionPart }) =>
    questionPart !== undefined && responsePart === undefined
      ? { path: ["questionPart"], issue: "it says where answers end; wanted responsePart too, where they begin" }
      : undefined
  )
)
export type SftOptions = typeof SftOptions.Type
export const decodeSftOptions = decodeOptions("sft", SftOptions)

export const decodeColumns = decodeOptions(
  "sft columns",
  Schema.Struct(Object.fromEntries(columnNames.map((name) => [name, Schema.optionalKey(Schema.NonEmptyString)])))
)
