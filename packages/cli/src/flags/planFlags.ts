/** The flags of `train`; rows may be left out where their length is said. */
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { anyData } from "./dataFlags.ts"
import { maybe } from "./maybe.ts"
import { positiveInt } from "./numbers.ts"
import { trainFlags } from "./trainFlags.ts"

export const planFlags = {
  ...trainFlags,
  model: trainFlags.model.pipe(
    Flag.withDescription(
      "a folder or a .gguf; here also a config.json alone, or llama-7b, llama-65b, llama-2-7b, llama-2-13b, llama-2-70b"
    )
  ),
  data: anyData,
  tokens: maybe(
    positiveInt("tokens").pipe(
      Flag.withDescription("instead of --data: plan for rows of so many tokens, --batch-size of them at a time")
    )
  )
}
export type PlanInput = Command.Command.Config.Infer<typeof planFlags>
