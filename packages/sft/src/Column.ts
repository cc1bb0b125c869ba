import { InvalidColumn } from "./DataError.ts"
import type { Place } from "./Place.ts"

/** One value of a row, with what an error about it needs. */
export interface Column {
  readonly name: string
  readonly place: Place
  readonly value: unknown
}

/** A value that came as JSON inside a text, as tables carry lists. */
export const parsed = (column: Column, text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalid(column, `the text is not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
}

export const invalid = (column: Column, problem: string): InvalidColumn =>
  new InvalidColumn({ place: column.place, column: column.name, problem })

/** A value in a few words for a message. */
export const describe = (value: unknown): string => {
  if (value === undefined) return "nothing"
  if (value === null) return "null"
  if (Array.isArray(value)) return "a list"
  if (typeof value === "object") return "an object"
  const text = typeof value === "string" ? JSON.stringify(value) : String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}
