/** Rows and what becomes of them, shared by `train`, `plan` and `eval`. */
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe } from "./maybe.ts"
import { positiveInt } from "./numbers.ts"

const paths = Flag.String("data").pipe(
  Flag.withAlias("d"),
  Flag.withMetavar("PATH"),
  Flag.withDescription(
    "rows: .jsonl, .json, .csv, .tsv, .parquet, .safetensors, .txt, a folder, a pattern, - for standard input, or a data set of the " +
      "Hub, org/name[:split][@revision]; may be repeated, each with :WEIGHT, how often an epoch has its rows"
  )
)
export const data = Flag.atLeast(paths, 1)
/** For whoever can do without. */
export const anyData = Flag.atLeast(paths, 0)
export const rowFlags = {
  maxLength: maybe(
    positiveInt("max-length").pipe(
      Flag.withDescription(
        "tokens of a sequence; longer ones are cut (default 1024, or the model's positions; rows of token ids are not cut unless given)"
      )
    )
  ),
  lossOn: Flag.Literals("loss-on", ["answers", "last", "all"]).pipe(
    Flag.withDefault("answers" as const),
    Flag.withDescription("learn the answers, only the last one, or all text (default answers)")
  ),
  responsePart: maybe(
    Flag.String("response-part").pipe(
      Flag.withMetavar("TEXT"),
      Flag.withDescription(
        "of text that is a rendered conversation, learn only what follows this text, '<|im_start|>assistant\\n'"
      )
    )
  ),
  questionPart: maybe(
    Flag.String("question-part").pipe(
      Flag.withMetavar("TEXT"),
      Flag.withDescription("up to the next of this text, '<|im_start|>user\\n'")
    )
  ),
  allow: Flag.Literals("allow", ["end-never-learnt", "end-always-masked"]).pipe(
    Flag.atLeast(0),
    Flag.withDescription("train although this was found in the data; may be repeated")
  ),
  column: maybe(
    Flag.KeyValuePair("column").pipe(
      Flag.withDescription("what a column is called in the data: --column prompt=question; may be repeated")
    )
  ),
  chatTemplate: maybe(
    Flag.String("chat-template").pipe(
      Flag.withMetavar("NAME|FILE"),
      Flag.withDescription("alpaca, chatml, llama-2, llama-3, zephyr, or a Jinja file (default: the model's own)")
    )
  )
}
export type RowInput = Command.Command.Config.Infer<typeof rowFlags>
