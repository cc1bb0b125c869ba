/** One JSON object a line (JSON Lines, NDJSON). */
import { MalformedRow } from "./DataError.ts"
import type { Place } from "./Place.ts"
import type { RawRow } from "./RowFile.ts"
import { readLines } from "./readLines.ts"

export async function* readJsonl(
  chunks: AsyncIterable<Uint8Array>,
  file: string
): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  for await (const lines of readLines(chunks, file)) {
    yield lines.map(({ number, text }) => {
      const place: Place = { file, unit: "line", number }
      return { place, value: parseRow(text, place) }
    })
  }
}

const parseRow = (text: string, place: Place): unknown => {
  try {
    return JSON.parse(text)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const shown = text.length > 60 ? `${text.slice(0, 57)}…` : text
    throw new MalformedRow({ place, problem: `not JSON (${reason}): ${shown}. Wanted one object a line` })
  }
}
