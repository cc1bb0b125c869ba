import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { data, rowFlags } from "./dataFlags.ts"
import { off } from "./maybe.ts"
import { model } from "./modelFlags.ts"
import { nonNegativeInt, positiveInt } from "./numbers.ts"
import { json } from "./outputFlags.ts"

export const dataPreviewFlags = {
  model,
  data,
  rows: positiveInt("rows").pipe(
    Flag.withAlias("n"),
    Flag.withDefault(5),
    Flag.withDescription("how many rows, drawn from all by --seed (default 5)")
  ),
  row: positiveInt("row").pipe(
    Flag.atLeast(0),
    Flag.withDescription("rather this row of those that are kept, from 1; may be repeated")
  ),
  seed: nonNegativeInt("seed").pipe(Flag.withDefault(0), Flag.withDescription("of the draw (default 0)")),
  tokens: off("tokens", "one token a line: its place, its id, whether it is learnt, its text"),
  ...rowFlags,
  json
}
export type DataPreviewInput = Command.Command.Config.Infer<typeof dataPreviewFlags>
