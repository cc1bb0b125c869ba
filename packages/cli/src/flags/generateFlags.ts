/** How a text is drawn, shared by `generate` and `chat`. */
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe, off } from "./maybe.ts"
import { adapter, backendFlags, model, storageFlags } from "./modelFlags.ts"
import { nonNegative, nonNegativeInt, positiveInt, seed } from "./numbers.ts"
import { json } from "./outputFlags.ts"

export const samplingFlags = {
  maxNewTokens: positiveInt("max-new-tokens").pipe(
    Flag.withAlias("n"),
    Flag.withDefault(256),
    Flag.withDescription("where the text ends if the model does not end it (default 256)")
  ),
  temperature: nonNegative("temperature").pipe(
    Flag.withDefault(0),
    Flag.withDescription("0: always the likeliest token (default 0)")
  ),
  topK: nonNegativeInt("top-k").pipe(
    Flag.withDefault(0),
    Flag.withDescription("draw among the k likeliest; 0: all (default 0)")
  ),
  topP: Flag.filter(
    Flag.Finite("top-p"),
    (p) => p > 0 && p <= 1,
    () => "a number above 0, at most 1"
  ).pipe(
    Flag.withDefault(1),
    Flag.withDescription("draw among the likeliest that together have this probability (default 1)")
  ),
  seed: seed.pipe(Flag.withDefault(0), Flag.withDescription("of the draws (default 0)"))
}
export const templateFlag = maybe(
  Flag.String("chat-template").pipe(
    Flag.withMetavar("NAME|FILE"),
    Flag.withDescription("alpaca, chatml, llama-2, llama-3, zephyr, or a Jinja file (default: the model's own)")
  )
)
export const system = maybe(
  Flag.String("system").pipe(Flag.withMetavar("TEXT"), Flag.withDescription("what the system says first"))
)
export const generateFlags = {
  model,
  adapter,
  prompt: maybe(
    Flag.String("prompt").pipe(
      Flag.withAlias("p"),
      Flag.withMetavar("TEXT"),
      Flag.withDescription("the text to go on from; - reads standard input")
    )
  ),
  chat: off("chat", "the prompt is what the user says: put it into the model's chat template"),
  messages: maybe(
    Flag.String("messages").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("a conversation instead: a JSON file of [{ role, content }, …], or the JSON itself")
    )
  ),
  system,
  chatTemplate: templateFlag,
  ids: maybe(
    Flag.String("ids").pipe(
      Flag.withMetavar("LIST"),
      Flag.withDescription("token ids with commas instead, for a model without a tokenizer")
    )
  ),
  ...samplingFlags,
  ...storageFlags,
  ...backendFlags,
  json
}
export type GenerateInput = Command.Command.Config.Infer<typeof generateFlags>

export const chatFlags = {
  model,
  adapter,
  system,
  chatTemplate: templateFlag,
  ...samplingFlags,
  ...storageFlags,
  ...backendFlags
}
export type ChatInput = Command.Command.Config.Infer<typeof chatFlags>
