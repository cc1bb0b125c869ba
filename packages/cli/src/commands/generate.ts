import { generateFlags } from "../flags/generateFlags.ts"
import { verb } from "./verb.ts"

export const generate = verb("generate", {
  description: "Write text with a model, with or without an adapter",
  examples: [
    {
      command: "graft generate --model ./model --adapter my-adapter --prompt \"What does 'foo' mean?\"",
      description: "the likeliest answer"
    },
    {
      command: 'graft generate -m model.gguf -p "Tell me a joke." --chat --temperature 0.8 --top-p 0.95 --seed 7',
      description: "as a conversation, drawn at random"
    }
  ],
  config: generateFlags,
  load: () => import("../verbs/generate.ts").then((module) => module.generate)
})
