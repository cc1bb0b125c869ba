/**
 * How a model reads and writes text: its tokenizer, and the chat template that `--chat-template` names, or that its adapter was
 * trained by, or its own. One object serves training, generation and what is kept beside an adapter.
 */
import { existsSync, readFileSync } from "node:fs"
import type { OpenedModel } from "@graft/llama-loader"
import { type ChatTemplate, jinjaTemplate, namedTemplate, type TextAgain, templateNames } from "@graft/sft"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import type { TextArgument } from "../textAgain.ts"
import { keptTemplate } from "./keptTemplate.ts"

const known = (name: string) => templateNames.find((one) => one === name)

/** The text of a special token, by its id. */
const textOf = ({ tokenizer }: OpenedModel, id: number | undefined): string | undefined =>
  [...(tokenizer?.specials ?? [])].find(([, special]) => special === id)?.[0]

const specialsOf = (model: OpenedModel) => ({
  bosToken: textOf(model, model.tokenizer?.bosId),
  eosToken: textOf(model, model.tokenizer?.eosId)
})

export const templateOf = (
  model: OpenedModel,
  named: { readonly chatTemplate: string | undefined; readonly adapter?: string | undefined }
): Effect.Effect<ChatTemplate | undefined, InvalidInput> => {
  const given = named.chatTemplate ?? keptTemplate(named.adapter)
  if (given === undefined) return Effect.succeed(model.chatTemplate)
  const tokens = specialsOf(model)
  const name = known(given)
  if (name !== undefined) return Effect.succeed(namedTemplate(name, tokens))
  return existsSync(given)
    ? Effect.try({
        try: () => jinjaTemplate(readFileSync(given, "utf8"), tokens),
        catch: (e) => new InvalidInput({ message: `--chat-template ${given}: ${e instanceof Error ? e.message : e}` })
      })
    : Effect.fail(
        new InvalidInput({
          message: `--chat-template ${given} is neither a file nor one of ${templateNames.join(", ")}`
        })
      )
}

/** What prepareData wants to know of a model. */
export const dataModelOf = (model: OpenedModel, chatTemplate: ChatTemplate | undefined) => ({
  tokenizer: model.tokenizer,
  chatTemplate,
  stopIds: model.stopIds,
  vocabularySize: model.config.vocabularySize,
  positions: model.config.maxPositions,
  again: textAgain(model, chatTemplate)
})

/** Undefined where a template is of no source: then rows are tokenised in one thread. */
const textAgain = (model: OpenedModel, chatTemplate: ChatTemplate | undefined): TextAgain | undefined => {
  // A worker opens the model by its path, where added tokens are not.
  if (model.tokenizerFiles !== undefined) return undefined
  const own = chatTemplate === model.chatTemplate
  if (!own && chatTemplate?.source === undefined) return undefined
  const file = import.meta.url.endsWith(".ts") ? "../textAgain.ts" : "./textAgain.js"
  const { path } = model
  const argument: TextArgument = own
    ? { path }
    : { path, template: { source: chatTemplate?.source ?? "", ...specialsOf(model) } }
  return { module: new URL(file, import.meta.url).href, argument }
}
