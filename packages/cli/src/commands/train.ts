import { trainFlags } from "../flags/trainFlags.ts"
import { verb } from "./verb.ts"

export const train = verb("train", {
  description: "Fine-tune a model; write an adapter folder that PEFT reads",
  examples: [
    {
      command: "graft train --model ./SmolLM2-135M-Instruct --data answers.jsonl --out my-adapter",
      description: "an adapter of rank 16 on all linears, one pass over the rows"
    },
    {
      command: "graft train -m model.gguf -d answers.jsonl --eval-fraction 0.1 --steps 200 --lr 1e-4 --schedule cosine",
      description: "on a GGUF, with a tenth of the rows held out"
    },
    {
      command: "graft train -m ./model -d answers.jsonl -o my-adapter --save-every 50 --resume",
      description: "go on where an earlier run was stopped"
    }
  ],
  config: trainFlags,
  load: () => import("../verbs/train.ts").then((module) => module.train)
})
