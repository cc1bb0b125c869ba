import * as Argument from "effect/cli/Argument"
import type * as Command from "effect/cli/Command"
import { off } from "../flags/maybe.ts"
import { json } from "../flags/outputFlags.ts"
import { verb } from "./verb.ts"

const inspectConfig = {
  path: Argument.String("path").pipe(
    Argument.withDescription("a model folder, an adapter folder, a .gguf or a .safetensors file")
  ),
  tensors: off("tensors", "list every tensor"),
  json
}
export type InspectInput = Command.Command.Config.Infer<typeof inspectConfig>

export const inspect = verb("inspect", {
  description: "Say what is in a model, an adapter, a checkpoint, a GGUF or a safetensors file",
  examples: [
    { command: "graft inspect my-adapter", description: "rank, targets, size, and the step of its checkpoint" },
    { command: "graft inspect model.gguf --tensors", description: "metadata and every tensor" }
  ],
  config: inspectConfig,
  load: () => import("../verbs/inspect.ts").then((module) => module.inspect)
})
