import { mergeFlags } from "../flags/mergeFlags.ts"
import { verb } from "./verb.ts"

export const merge = verb("merge", {
  description: "Write the model with its adapter multiplied in: a folder that any program reads",
  examples: [
    {
      command: "graft merge --model ./model --adapter my-adapter --out my-model",
      description: "for a GGUF that stays as it is, `graft export` instead"
    }
  ],
  config: mergeFlags,
  load: () => import("../verbs/merge.ts").then((module) => module.merge)
})
