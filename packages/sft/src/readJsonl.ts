/** One JSON object a line (JSON Lines, NDJSON). */
import { MalformedRow } from "./DataError.ts"
import type { Place } from "./Place.ts"
import type { RawRow } from "./RowFile.ts"
import { type LineBlock, lineBlocks, linesOf } from "./readLines.ts"

export const rowsOfLines = (block: LineBlock, file: string): ReadonlyArray<RawRow> =>
  linesOf(block, file).map(({ number, text }) => {
    const place: Place = { file, unit: "line", number }
    return { place, value: parseRow(text, place) }
  })

export async function* readJsonl(
  chunks: AsyncIterable<Uint8Array>,
  file: string
): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  for await (const block of lineBlocks(chunks, file)) {
    const rows = rowsOfLines(block, file)
    if (rows.length > 0) yield rows
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
