/** What is generated from: a prompt, a conversation in the model's chat template, or token ids. */
import { existsSync, readFileSync } from "node:fs"
import type { OpenedModel } from "@graft/llama-loader"
import type { ChatTemplate } from "@graft/sft"
import { Effect, Schema } from "effect"
import type { GenerateInput } from "../flags/generateFlags.ts"
import { InvalidInput } from "../problems.ts"
import { templateOf } from "./textOfModel.ts"

const Messages = Schema.fromJsonString(
  Schema.NonEmptyArray(Schema.Struct({ role: Schema.String, content: Schema.String }))
)
const decode = Schema.decodeUnknownEffect(Messages)
export type ChatMessages = ReadonlyArray<{ readonly role: string; readonly content: string }>

const invalid = (message: string) => Effect.fail(new InvalidInput({ message }))

/**
 * The prompt's tokens as training saw them: what the tokenizer puts before a text, never what it puts after one.
 */
export const encodeText = (model: OpenedModel, text: string): ReadonlyArray<number> => {
  const { tokenizer } = model
  if (tokenizer === undefined) return []
  const bare = tokenizer.encode(text, { addSpecial: false })
  const full = tokenizer.encode(text, { addSpecial: true })
  for (let start = 0; start + bare.length <= full.length; start++)
    if (bare.every((id, i) => full[start + i] === id)) return full.slice(0, start + bare.length)
  return full
}

/** A conversation, ready for the assistant's answer. */
export const encodeChat = (model: OpenedModel, template: ChatTemplate, messages: ChatMessages) =>
  Effect.try({
    try: () =>
      model.tokenizer?.encode(template.render(messages, { addGenerationPrompt: true }), { addSpecial: false }) ?? [],
    catch: (e) => new InvalidInput({ message: `${model.path}: ${e instanceof Error ? e.message : String(e)}` })
  })

export const requireTemplate = (model: OpenedModel, named: Parameters<typeof templateOf>[1]) =>
  Effect.flatMap(templateOf(model, named), (template) =>
    template === undefined
      ? invalid(
          `${model.path} has no chat template; name one with --chat-template, or give the whole text as --prompt without --chat`
        )
      : Effect.succeed(template)
  )

export const requireTokenizer = (model: OpenedModel) =>
  model.tokenizer === undefined
    ? invalid(`${model.path} has no tokenizer; add its tokenizer.json, or give token ids with --ids`)
    : Effect.succeed(model.tokenizer)

export const promptOf = Effect.fnUntraced(function* (input: GenerateInput, model: OpenedModel) {
  const sources = (["prompt", "messages", "ids"] as const).filter((name) => input[name] !== undefined)
  if (sources.length !== 1) {
    return yield* invalid(
      `got ${sources.length === 0 ? "no text to go on from" : sources.map((s) => `--${s}`).join(" and ")}; wanted one of --prompt, --messages, --ids`
    )
  }
  const chat = input.chat || input.messages !== undefined
  if (!chat && (input.system !== undefined || input.chatTemplate !== undefined)) {
    return yield* invalid(
      `${input.system === undefined ? "--chat-template" : "--system"} belongs to a conversation; add --chat, or leave it out`
    )
  }
  if (input.ids !== undefined) return yield* idsOf(input.ids, model)
  yield* requireTokenizer(model)
  const prompt = input.prompt === "-" ? readFileSync(0, "utf8") : input.prompt
  const said: ChatMessages =
    prompt === undefined ? yield* messagesOf(input.messages ?? "") : [{ role: "user", content: prompt }]
  const ids = chat
    ? yield* encodeChat(model, yield* requireTemplate(model, input), [
        ...(input.system === undefined ? [] : [{ role: "system", content: input.system }]),
        ...said
      ])
    : encodeText(model, prompt ?? "")
  if (ids.length === 0)
    return yield* invalid("--prompt is empty, and the model puts no token before a text; say something")
  return ids
})

const messagesOf = (given: string) =>
  Effect.suspend(() => decode(existsSync(given) ? readFileSync(given, "utf8") : given)).pipe(
    Effect.mapError(
      (e) =>
        new InvalidInput({
          message: `--messages ${given.slice(0, 80)}: ${e.message.replace(/\s*\n\s*/g, "; ")}. Wanted a file, or JSON: [{ "role": "user", "content": "…" }]`
        })
    )
  )

const idsOf = (text: string, model: OpenedModel) => {
  const ids = text
    .split(/[\s,]+/)
    .filter((part) => part !== "")
    .map(Number)
  const { vocabularySize } = model.config
  const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabularySize)
  if (ids.length === 0) return invalid("--ids is empty; wanted token ids with commas")
  return wrong === undefined
    ? Effect.succeed(ids)
    : invalid(`--ids: ${wrong} is no token of ${model.path}, which has 0 … ${vocabularySize - 1}`)
}
