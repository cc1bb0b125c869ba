/** A file of rows, read bit by bit. What a row means is settled later, by its columns. */
import type { Place } from "./Place.ts"
import type { LineBlock } from "./readLines.ts"

export interface RawRow {
  readonly place: Place
  readonly value: unknown
}

export interface RowFile {
  readonly file: string
  /** One document of running text, rather than a table of rows. */
  readonly isText: boolean
  /** A few rows at a time, in the file's order. Each call reads the file anew. */
  readonly rows: () => AsyncIterable<ReadonlyArray<RawRow>>
  /** Of a file of JSON Lines: the same, not yet parsed. */
  readonly blocks?: () => AsyncIterable<LineBlock>
}
