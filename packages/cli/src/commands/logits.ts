import { logitsFlags } from "../flags/logitsFlags.ts"
import { verb } from "./verb.ts"

export const logits = verb("logits", {
  description: "A model's logits for token ids, to compare with any other implementation; needs no tokenizer",
  examples: [
    {
      command: "graft logits --model ./model --adapter my-adapter --ids ids.safetensors --out logits.safetensors",
      description: "f32 logits of every place of every sequence"
    }
  ],
  config: logitsFlags,
  load: () => import("../verbs/logits.ts").then((module) => module.logits)
})
