import * as Command from "effect/cli/Command"
import { dataPreviewFlags } from "../flags/dataPreviewFlags.ts"
import { verb } from "./verb.ts"

const preview = verb("preview", {
  description: "Show rows as the trainer sees them: green is learnt, faint is not; with counts and what was found",
  examples: [
    {
      command: "graft data preview --model ./model --data answers.jsonl",
      description: "five rows drawn from all, and what will spoil a training"
    },
    {
      command: "graft data preview -m ./model -d HuggingFaceH4/no_robots:test --row 7 --tokens",
      description: "one row of a data set of the Hub, token by token"
    }
  ],
  config: dataPreviewFlags,
  load: () => import("../verbs/dataPreview.ts").then((module) => module.dataPreview)
})

export const data = Command.make("data").pipe(
  Command.withDescription("Look at rows before training on them"),
  Command.withExamples([
    {
      command: "graft data preview --model ./model --data answers.jsonl",
      description: "what is learnt, and what is odd"
    }
  ]),
  Command.withSubcommands([preview])
)
