/**
 * One JSON array of rows, read element by element: memory holds a chunk and one row. A file that does not begin with `[` is
 * taken for JSON Lines, which is often saved under this name too.
 */
import { MalformedRow } from "./DataError.ts"
import { decodeUtf8 } from "./decodeUtf8.ts"
import type { Place } from "./Place.ts"
import type { RawRow } from "./RowFile.ts"
import { readJsonl } from "./readJsonl.ts"

export async function* readJson(
  chunks: AsyncIterable<Uint8Array>,
  file: string
): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  const bytes = chunks[Symbol.asyncIterator]()
  const begun: Array<Uint8Array> = []
  let first: string | undefined
  while (first === undefined) {
    const next = await bytes.next()
    if (next.done === true) break
    begun.push(next.value)
    first = new TextDecoder().decode(next.value).replace("\uFEFF", "").trimStart()[0]
  }
  async function* all(): AsyncGenerator<Uint8Array, void> {
    yield* begun
    for (let next = await bytes.next(); next.done !== true; next = await bytes.next()) yield next.value
  }
  if (first === "[") yield* readArray(all(), file)
  else yield* readJsonl(all(), file)
}

async function* readArray(
  chunks: AsyncIterable<Uint8Array>,
  file: string
): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  const elements = new ArrayElements()
  let number = 0
  const malformed = (problem: string) => new MalformedRow({ place: { file, unit: "row", number: number + 1 }, problem })
  for await (const text of decodeUtf8(chunks, malformed)) {
    const rows: Array<RawRow> = []
    for (const element of elements.take(text)) {
      try {
        const place: Place = { file, unit: "row", number: number + 1 }
        rows.push({ place, value: JSON.parse(element) })
      } catch (error) {
        throw malformed(`not JSON: ${error instanceof Error ? error.message : String(error)}`)
      }
      number++
    }
    if (elements.trailing) throw malformed("something follows the end of the array; wanted one array of rows")
    if (rows.length > 0) yield rows
  }
  if (!elements.ended) throw malformed("the file ends inside the array; it was cut short, or a bracket is missing")
}

/** Cuts a JSON array, given in pieces, into the texts of its elements by counting brackets outside of strings. */
class ArrayElements {
  #depth = 0
  #inString = false
  #escaped = false
  #element = ""
  #cut = 0
  ended = false
  trailing = false

  take(text: string): ReadonlyArray<string> {
    const elements: Array<string> = []
    let from = 0
    for (let i = 0; i < text.length; i++) {
      const char = text[i]!
      if (this.ended) {
        if (char.trim() !== "") this.trailing = true
      } else if (this.#inString) {
        if (this.#escaped) this.#escaped = false
        else if (char === "\\") this.#escaped = true
        else if (char === '"') this.#inString = false
      } else if (char === '"') this.#inString = true
      else if (char === "[" || char === "{") {
        this.#depth++
        if (this.#depth === 1) from = i + 1
      } else if (char === "]" || char === "}" || (char === "," && this.#depth === 1)) {
        if (char !== ",") this.#depth--
        this.ended = this.#depth === 0
        this.trailing ||= this.ended && char !== "]"
        if (char === "," || this.ended) {
          const element = this.#element + text.slice(from, i)
          this.#element = ""
          from = i + 1
          // Nothing between two commas is an error that the parser reports; nothing between the brackets is an empty array.
          if (this.ended && this.#cut === 0 && element.trim() === "") continue
          elements.push(element)
          this.#cut++
        }
      }
    }
    if (this.#depth > 0) this.#element += text.slice(from)
    return elements
  }
}
