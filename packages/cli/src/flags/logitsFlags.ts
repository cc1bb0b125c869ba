import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { adapter, backendFlags, model, storageFlags } from "./modelFlags.ts"
import { json } from "./outputFlags.ts"

export const logitsFlags = {
  model,
  adapter,
  ids: Flag.String("ids").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("safetensors with input_ids, int64 or int32 [batch, tokens]")
  ),
  out: Flag.String("out").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("FILE"),
    Flag.withDescription("safetensors to write: logits, f32 [batch, tokens, vocabulary]")
  ),
  ...storageFlags,
  ...backendFlags,
  json
}
export type LogitsInput = Command.Command.Config.Infer<typeof logitsFlags>
