import { Schema } from "effect"

/** Where a row was read: its file, and its line (lines of text) or its row (a table, an array), counted from 1. */
export const Place = Schema.Struct({
  file: Schema.String,
  unit: Schema.Literals(["line", "row"]),
  number: Schema.Int
})
export type Place = typeof Place.Type

/** "answers.jsonl line 7" */
export const showPlace = (place: Place): string => `${place.file} ${place.unit} ${place.number}`
