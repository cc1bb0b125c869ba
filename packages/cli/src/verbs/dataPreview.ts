/** `graft data preview`: rows as the trainer sees them, and what was found in all of them. No weight is read. */
import { drawRows, findingCodes, type PreparedData, prepareData, previewRow, showPreview } from "@graft/sft"
import { Effect } from "effect"
import type { DataPreviewInput } from "../flags/dataPreviewFlags.ts"
import { InvalidInput } from "../problems.ts"
import { showData, showModel } from "../show/findings.ts"
import { makeScreen } from "../show/Screen.ts"
import { openNamed } from "../stack/openNamed.ts"
import { rowOptions } from "../stack/rowOptions.ts"
import { dataModelOf, templateOf } from "../stack/textOfModel.ts"

export const dataPreview = Effect.fnUntraced(function* (input: DataPreviewInput) {
  const screen = makeScreen(input.json)
  const model = yield* openNamed(input.model)
  showModel(screen, model)
  const text = dataModelOf(model, yield* templateOf(model, input))
  const data = yield* prepareData({ ...rowOptions(input), allow: findingCodes, shuffle: false }, text)
  showData(screen, data.report)
  for (const row of yield* wantedRows(data, input)) {
    const preview = previewRow(data, row, text.tokenizer)
    screen.say("")
    screen.say(showPreview(preview, { colour: screen.colour, tokens: input.tokens }))
    screen.event({ event: "Row", row: row + 1, ...preview })
  }
}, Effect.scoped)

const wantedRows = (
  data: PreparedData,
  { row, rows, seed }: DataPreviewInput
): Effect.Effect<ReadonlyArray<number>, InvalidInput> => {
  const beyond = row.find((one) => one > data.rows)
  if (beyond !== undefined) {
    return Effect.fail(new InvalidInput({ message: `--row ${beyond}: there are ${data.rows} rows to train on` }))
  }
  return Effect.succeed(row.length > 0 ? row.map((one) => one - 1) : drawRows(data.rows, rows, seed))
}
