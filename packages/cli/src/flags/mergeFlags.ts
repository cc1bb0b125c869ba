import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe } from "./maybe.ts"
import { backendFlags, model } from "./modelFlags.ts"
import { json } from "./outputFlags.ts"

const { backend, threads, isa } = backendFlags

export const mergeFlags = {
  model,
  adapter: Flag.String("adapter").pipe(
    Flag.withMetavar("DIR"),
    Flag.withDescription("the adapter folder, as `graft train` or PEFT wrote it")
  ),
  out: Flag.String("out").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("DIR"),
    Flag.withDescription("a Hugging Face folder to write: config.json, model.safetensors, the tokenizer's files")
  ),
  dtype: maybe(
    Flag.Literals("dtype", ["f32", "bf16", "f16"]).pipe(
      Flag.withDescription("round all tensors to this (default: as the source is; a GGUF's blocks become f32)")
    )
  ),
  ...{ backend, threads, isa },
  json
}
export type MergeInput = Command.Command.Config.Infer<typeof mergeFlags>
