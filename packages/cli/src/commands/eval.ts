import { evalFlags } from "../flags/evalFlags.ts"
import { verb } from "./verb.ts"

export const evaluate = verb("eval", {
  description: "Loss, perplexity and token accuracy on rows",
  examples: [
    {
      command: "graft eval --model ./model --adapter my-adapter --data held-out.jsonl",
      description: "how well the adapter answers rows it has not seen"
    }
  ],
  config: evalFlags,
  load: () => import("../verbs/eval.ts").then((module) => module.evaluate)
})
