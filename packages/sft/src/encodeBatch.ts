/** Rows as they come from a file, turned into what the store takes: here, or in another thread. */
import type { FindingCode } from "./DataReport.ts"
import { shown } from "./DataReport.ts"
import type { EncodeRow } from "./encodeRow.ts"
import type { Place } from "./Place.ts"
import type { Row } from "./Row.ts"
import type { RawRow } from "./RowFile.ts"
import { rowsOfLines } from "./readJsonl.ts"
import type { LineBlock } from "./readLines.ts"

/** Rows of one file, parsed or not. */
export type RawBatch = LineBlock | ReadonlyArray<RawRow>
export const rowsOf = (batch: RawBatch, file: string): ReadonlyArray<RawRow> =>
  "bytes" in batch ? rowsOfLines(batch, file) : batch

export interface Noted {
  readonly code: FindingCode
  readonly rows: number
  /** The numbers of the first ten of them. */
  readonly numbers: ReadonlyArray<number>
}
export interface EncodedBatch {
  /** Rows of the file, and how many of them came tokenised. */
  readonly rows: number
  readonly tokenised: number
  /** Sequences that learn a token that ends generation. */
  readonly endsLearnt: number
  readonly unit: Place["unit"]
  /** Sequences end to end; the length of each, and the number of the row that it is of. */
  readonly words: Int32Array<ArrayBuffer>
  readonly lengths: Int32Array<ArrayBuffer>
  readonly numbers: Int32Array<ArrayBuffer>
  readonly noted: ReadonlyArray<Noted>
}

/** @throws DataError of the first row that cannot be */
export const encodeBatch = (
  rows: ReadonlyArray<RawRow>,
  read: (value: unknown, place: Place) => Row,
  encode: EncodeRow,
  split: boolean,
  stopIds: ReadonlySet<number>
): EncodedBatch => {
  const noted = new Map<FindingCode, { readonly code: FindingCode; rows: number; readonly numbers: Array<number> }>()
  const note = (code: FindingCode, { number }: Place): void => {
    const entry = noted.get(code) ?? { code, rows: 0, numbers: [] }
    noted.set(code, entry)
    entry.rows++
    if (entry.numbers.length < shown) entry.numbers.push(number)
  }
  const sequences: Array<Int32Array> = []
  const numbers: Array<number> = []
  let [tokenised, endsLearnt, tokens] = [0, 0, 0]
  for (const { place, value } of rows) {
    const row = read(value, place)
    if (row.kind === "tokens") tokenised++
    for (const words of encode(row, place, split, (code) => note(code, place))) {
      if (!words.some((word) => word < 0)) {
        note("nothing-supervised", place)
        continue
      }
      if (words.some((word) => word < 0 && stopIds.has(~word))) endsLearnt++
      sequences.push(words)
      numbers.push(place.number)
      tokens += words.length
    }
  }
  const words = new Int32Array(tokens)
  let at = 0
  for (const sequence of sequences) {
    words.set(sequence, at)
    at += sequence.length
  }
  return {
    rows: rows.length,
    tokenised,
    endsLearnt,
    unit: rows[0]?.place.unit ?? "row",
    words,
    lengths: Int32Array.from(sequences, ({ length }) => length),
    numbers: Int32Array.from(numbers),
    noted: [...noted.values()]
  }
}
