import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe } from "./maybe.ts"
import { backendFlags, model } from "./modelFlags.ts"
import { positiveInt } from "./numbers.ts"
import { json } from "./outputFlags.ts"

export const verifyFlags = {
  model: model.pipe(Flag.withDescription("the .gguf that the adapter was trained on")),
  adapter: Flag.String("adapter").pipe(
    Flag.withMetavar("DIR"),
    Flag.withDescription("the adapter folder, as `graft train` or PEFT wrote it")
  ),
  against: Flag.Literals("against", ["llama.cpp"]).pipe(
    Flag.withDefault("llama.cpp" as const),
    Flag.withDescription("whose predictions to compare with; needs node-llama-cpp installed where the command runs")
  ),
  text: maybe(
    Flag.String("text").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("a text to predict (default: one of the command's own)")
    )
  ),
  tokens: positiveInt("tokens").pipe(
    Flag.withDefault(500),
    Flag.withDescription("of the text, from its beginning (default 500)")
  ),
  ...backendFlags,
  json
}
export type VerifyInput = Command.Command.Config.Infer<typeof verifyFlags>
