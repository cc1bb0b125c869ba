import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { data, rowFlags } from "./dataFlags.ts"
import { adapter, backendFlags, model, storageFlags } from "./modelFlags.ts"
import { positiveInt } from "./numbers.ts"
import { json } from "./outputFlags.ts"

export const evalFlags = {
  model,
  adapter,
  data,
  ...rowFlags,
  batchSize: positiveInt("batch-size").pipe(
    Flag.withAlias("b"),
    Flag.withDefault(8),
    Flag.withDescription("rows that go through the model at a time; the result does not depend on it (default 8)")
  ),
  ...storageFlags,
  ...backendFlags,
  json
}
export type EvalInput = Command.Command.Config.Infer<typeof evalFlags>
