import * as Argument from "effect/cli/Argument"
import type * as Command from "effect/cli/Command"
import { json } from "../flags/outputFlags.ts"
import { verb } from "./verb.ts"

const diffConfig = {
  first: Argument.String("first").pipe(Argument.withDescription("the folder of a run with --record")),
  second: Argument.String("second").pipe(Argument.withDescription("the folder of another")),
  json
}
export type DiffInput = Command.Command.Config.Infer<typeof diffConfig>

export const diff = verb("diff", {
  description: "Name the first step and op where two runs with --record part",
  examples: [
    {
      command: "graft diff run-a run-b",
      description: "two runs, machines, runtimes or commits; exit code 1 if they part"
    }
  ],
  config: diffConfig,
  load: () => import("../verbs/diff.ts").then((module) => module.diff)
})
