import { trainFlags } from "../flags/trainFlags.ts"
import { verb } from "./verb.ts"

export const plan = verb("plan", {
  description: "Say what a run would take, to the byte; nothing is run. Takes the flags of `train`",
  examples: [
    {
      command: "graft plan --model ./Llama-2-7b --data answers.jsonl --batch-size 1 --checkpointing",
      description: "does it fit?"
    }
  ],
  config: trainFlags,
  load: () => import("../verbs/plan.ts").then((module) => module.plan)
})
