/**
 * Comma- or tab-separated values (RFC 4180): the first line names the columns, fields may be quoted and then hold separators,
 * quotes (doubled) and line ends. All values are texts; lists come as JSON in them.
 */
import { MalformedRow } from "./DataError.ts"
import { decodeUtf8 } from "./decodeUtf8.ts"
import type { RawRow } from "./RowFile.ts"

export async function* readTable(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
  separator: "," | "\t"
): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  const records = new Records(separator)
  let names: ReadonlyArray<string> | undefined
  const malformed = (line: number, problem: string) =>
    new MalformedRow({ place: { file, unit: "line", number: line }, problem })

  const rowOf = ({ line, fields }: Recorded): RawRow | undefined => {
    if (names === undefined) {
      names = fields.map((name) => name.trim())
      const twice = names.find((name, i) => names!.indexOf(name) < i)
      if (twice !== undefined) throw malformed(line, `the column ${twice} is named twice`)
      return undefined
    }
    if (fields.length === 1 && fields[0] === "") return undefined // an empty line
    if (fields.length !== names.length) {
      throw malformed(
        line,
        `the row has ${fields.length} fields and the header ${names.length}; quote fields that hold separators or line ends`
      )
    }
    return {
      place: { file, unit: "line", number: line },
      value: Object.fromEntries(names.map((name, i) => [name, fields[i]]))
    }
  }
  const take = (text: string, last: boolean): ReadonlyArray<RawRow> =>
    records.take(text, last).flatMap((record) => rowOf(record) ?? [])

  for await (const text of decodeUtf8(chunks, (problem) => malformed(records.line, problem))) {
    const rows = take(text, false)
    if (rows.length > 0) yield rows
  }
  if (records.inQuotes) throw malformed(records.begun, "a quote is opened and never closed")
  const rows = take("", true)
  if (rows.length > 0) yield rows
}

interface Recorded {
  /** Where it begins. */
  readonly line: number
  readonly fields: ReadonlyArray<string>
}

class Records {
  readonly #separator: string
  #fields: Array<string> = []
  #field = ""
  #afterQuote = false // a quote inside a quoted field: it ends the field, or is the first of two that mean one
  #return = false // a carriage return outside of quotes: part of a line end, or of the field
  inQuotes = false
  line = 1
  begun = 1

  constructor(separator: string) {
    this.#separator = separator
  }

  take(text: string, last: boolean): ReadonlyArray<Recorded> {
    const records: Array<Recorded> = []
    for (const char of text) {
      if (char === "\n") this.line++
      if (this.#return) {
        this.#return = false
        if (char !== "\n") this.#field += "\r"
      }
      if (this.inQuotes) {
        if (char === '"') {
          this.inQuotes = false
          this.#afterQuote = true
        } else this.#field += char
      } else if (char === '"' && (this.#afterQuote || this.#field === "")) {
        if (this.#afterQuote) this.#field += '"'
        this.#afterQuote = false
        this.inQuotes = true
      } else if (char === "\r") this.#return = true
      else if (char === this.#separator) this.#endField()
      else if (char === "\n") records.push(this.#endRecord())
      else {
        this.#afterQuote = false
        this.#field += char
      }
    }
    if (last && (this.#field !== "" || this.#fields.length > 0)) records.push(this.#endRecord())
    return records
  }
  #endField(): void {
    this.#fields.push(this.#field)
    this.#field = ""
    this.#afterQuote = false
  }
  #endRecord(): Recorded {
    this.#endField()
    const record = { line: this.begun, fields: this.#fields }
    this.#fields = []
    this.begun = this.line
    return record
  }
}
