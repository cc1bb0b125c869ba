/**
 * A chat template in Jinja, as models carry it in `tokenizer_config.json`, `chat_template.jinja` or GGUF's
 * `tokenizer.chat_template`. Transformers' tag `{% generation %} … {% endgeneration %}`, which marks what the assistant
 * says, is turned into markers in the rendered text and so into pieces.
 */
import { Template } from "@huggingface/jinja"
import type { ChatTemplate, Message, Piece, RenderOptions } from "./ChatTemplate.ts"

export interface JinjaTemplateOptions {
  /** The text of the special tokens, which templates name `bos_token` and `eos_token`. */
  readonly bosToken?: string | undefined
  readonly eosToken?: string | undefined
  /** Further variables that the template reads, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined
}

// Noncharacters of Unicode: they are never interchanged, so a text that holds one is refused rather than mistaken for a mark.
const open = "\uFDD0"
const close = "\uFDD1"

const generationTag = /\{%(-?)\s*(end)?generation\s*(-?)%\}/g

/** The tags as conditions that always hold, so that the whitespace control of their own dashes and line ends stays. */
const markGenerations = (source: string): string =>
  source.replace(
    generationTag,
    (_, before: string, end: string | undefined, after: string) =>
      `{%${before} if true %}${end === undefined ? open : close}{% endif ${after}%}`
  )

/** Throws a SyntaxError when the source is not Jinja. */
export const jinjaTemplate = (source: string, options: JinjaTemplateOptions = {}): ChatTemplate => {
  const plain = new Template(source)
  const run = (template: Template, messages: ReadonlyArray<Message>, { addGenerationPrompt, tools }: RenderOptions) =>
    template.render({
      bos_token: options.bosToken ?? "",
      eos_token: options.eosToken ?? "",
      ...options.variables,
      messages,
      add_generation_prompt: addGenerationPrompt,
      tools: tools ?? null // transformers always names it, and templates ask whether it is none
    })
  const render: ChatTemplate["render"] = (messages, how) => run(plain, messages, how)
  if (source.search(generationTag) < 0) return { source, render }

  const marked = new Template(markGenerations(source))
  return {
    source,
    render,
    pieces: (messages, how) => {
      if (/[\uFDD0\uFDD1]/.test(JSON.stringify(messages))) {
        throw new RangeError("the text holds U+FDD0 or U+FDD1, which are no characters; take them out")
      }
      return piecesOf(run(marked, messages, how))
    }
  }
}

const piecesOf = (text: string): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  let from = 0
  let inside = false
  while (from <= text.length) {
    const at = text.indexOf(inside ? close : open, from)
    const to = at < 0 ? text.length : at
    if (to > from) pieces.push({ text: text.slice(from, to), supervised: inside })
    from = to + 1
    inside = at >= 0 && !inside
  }
  return pieces
}
