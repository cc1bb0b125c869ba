/**
 * How a model reads text, made again in a thread that tokenises rows (@graft/sft's `TextAgain`): from the model's path, and
 * the template's source where it is not the model's own.
 */
import { openModel } from "@graft/llama-loader"
import { jinjaTemplate, type TextOfModel } from "@graft/sft"
import { Effect } from "effect"

export interface TextArgument {
  readonly path: string
  /** Left out: the model's own template, if it has one. */
  readonly template?: {
    readonly source: string
    readonly bosToken: string | undefined
    readonly eosToken: string | undefined
  }
}
export const textOfModel = ({ path, template }: TextArgument): Promise<TextOfModel> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(openModel(path), ({ tokenizer, chatTemplate, stopIds }) => ({
        tokenizer,
        chatTemplate: template === undefined ? chatTemplate : jinjaTemplate(template.source, template),
        stopIds
      }))
    )
  )
