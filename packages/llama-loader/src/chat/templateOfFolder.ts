/** `chat_template` of tokenizer_config.json: one template, or a list of named ones, of which `default` is taken. */
import { Schema } from "effect"
import { ChatTemplateError } from "./ChatTemplate.ts"

const Config = Schema.Struct({
  chat_template: Schema.optionalKey(
    Schema.NullOr(
      Schema.Union([Schema.String, Schema.Array(Schema.Struct({ name: Schema.String, template: Schema.String }))])
    )
  )
})
const decode = Schema.decodeUnknownSync(Config)

/** @throws ChatTemplateError */
export const templateOfFolder = (path: string, config: unknown): string | undefined => {
  let template: (typeof Config.Type)["chat_template"]
  try {
    template = decode(config ?? {}).chat_template
  } catch (cause) {
    throw new ChatTemplateError({ message: `${path}: ${cause instanceof Error ? cause.message : String(cause)}`, path })
  }
  if (template == null || typeof template === "string") return template ?? undefined
  return (template.find(({ name }) => name === "default") ?? template[0])?.template
}
