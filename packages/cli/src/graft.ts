/** The command `graft`: its verbs, known by name and flags only. */
import * as CliConfig from "effect/cli/CliConfig"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import { bench } from "./commands/bench.ts"
import { chat } from "./commands/chat.ts"
import { data } from "./commands/data.ts"
import { diff } from "./commands/diff.ts"
import { doctor } from "./commands/doctor.ts"
import { evaluate } from "./commands/eval.ts"
import { exportAdapter } from "./commands/export.ts"
import { generate } from "./commands/generate.ts"
import { inspect } from "./commands/inspect.ts"
import { logits } from "./commands/logits.ts"
import { merge } from "./commands/merge.ts"
import { plan } from "./commands/plan.ts"
import { quantize } from "./commands/quantize.ts"
import { synth } from "./commands/synth.ts"
import { train } from "./commands/train.ts"
import { verify } from "./commands/verify.ts"

export const graft = Command.make("graft").pipe(
  Command.withDescription("Fine-tune language models with LoRA, without Python or CUDA"),
  Command.withExamples([
    {
      command: "graft train --model ./model --data answers.jsonl --out my-adapter",
      description: "fine-tune"
    },
    {
      command: 'graft generate --model ./model --adapter my-adapter --prompt "Hello"',
      description: "see what it learnt"
    },
    { command: "graft train --help", description: "every flag of a verb" }
  ]),
  Command.withSubcommands([
    train,
    plan,
    generate,
    chat,
    evaluate,
    quantize,
    data,
    logits,
    exportAdapter,
    merge,
    verify,
    inspect,
    diff,
    doctor,
    bench,
    synth
  ])
)

/** The flags that every verb has besides its own. */
export const cliConfig = CliConfig.make({
  builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions]
})
