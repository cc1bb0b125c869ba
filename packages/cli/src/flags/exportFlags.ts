import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { model } from "./modelFlags.ts"
import { json } from "./outputFlags.ts"

export const exportFlags = {
  adapter: Flag.String("adapter").pipe(
    Flag.withMetavar("DIR"),
    Flag.withDescription("the adapter folder, as `graft train` or PEFT wrote it")
  ),
  model: model.pipe(
    Flag.withDescription("the model that it was trained on: the .gguf that it will run over, or its folder")
  ),
  format: Flag.Literals("format", ["gguf", "peft"]).pipe(
    Flag.withDefault("gguf" as const),
    Flag.withDescription("gguf: a file for llama.cpp; peft: a folder without what --resume needs (default gguf)")
  ),
  out: Flag.String("out").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("PATH"),
    Flag.withDescription("the file, of peft the folder, to write")
  ),
  json
}
export type ExportInput = Command.Command.Config.Infer<typeof exportFlags>
