import { planFlags } from "../flags/planFlags.ts"
import { verb } from "./verb.ts"

export const plan = verb("plan", {
  description: "Say what a run would take, to the byte; nothing is run. Takes the flags of `train`",
  examples: [
    {
      command: "graft plan --model ./Llama-2-7b --data answers.jsonl --batch-size 1 --checkpointing",
      description: "does it fit?"
    },
    {
      command:
        "graft plan --model llama-2-7b --tokens 512 --batch-size 1 --quantize nf4 --double-quant --checkpointing",
      description: "before anything is downloaded"
    }
  ],
  config: planFlags,
  load: () => import("../verbs/plan.ts").then((module) => module.plan)
})
