/**
 * A conversation as the text that a model was taught: the Jinja template of tokenizer_config.json, chat_template.jinja or a
 * GGUF. `{% generation %} … {% endgeneration %}` (transformers) marks what the assistant says; the marks become pieces.
 */
import { Template } from "@huggingface/jinja"
import { Schema } from "effect"

export class ChatTemplateError extends Schema.TaggedError<ChatTemplateError>()("ChatTemplateError", {
  message: Schema.String,
  path: Schema.String
}) {}

export interface ChatMessage {
  readonly role: string
  readonly content: string | null
  /** Whatever else the template may read: `tool_calls`, `name`, … */
  readonly [key: string]: unknown
}

export interface RenderOptions {
  /** Ends the text where the assistant's answer is to begin. */
  readonly addGenerationPrompt: boolean
  readonly tools?: ReadonlyArray<unknown> | undefined
}

/** A stretch of rendered text, and whether the assistant says it. */
export interface ChatPiece {
  readonly text: string
  readonly supervised: boolean
}

export interface ChatTemplate {
  readonly source: string
  /** @throws ChatTemplateError where the template refuses the conversation */
  readonly render: (messages: ReadonlyArray<ChatMessage>, options: RenderOptions) => string
  /** Present where the template marks what the assistant says. */
  readonly pieces?: (messages: ReadonlyArray<ChatMessage>, options: RenderOptions) => ReadonlyArray<ChatPiece>
}

export interface TemplateTokens {
  readonly bosToken: string
  readonly eosToken: string
}

// Code points that are no characters, so that no sound text holds one.
const OPEN = "\ufdd0"
const CLOSE = "\ufdd1"
const TAG = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g

/** The tags as conditions that always hold: white space around them goes or stays as it did. */
const withMarks = (source: string): string =>
  source.replace(
    TAG,
    (_, before: string, end: string | undefined, after: string) =>
      `{%${before} if true %}${end === undefined ? OPEN : CLOSE}{% endif ${after}%}`
  )

/** @throws ChatTemplateError where the source is not Jinja; `path` is the file it is from. */
export const chatTemplate = (path: string, source: string, tokens: TemplateTokens): ChatTemplate => {
  const attempt = <A>(what: string, act: () => A): A => {
    try {
      return act()
    } catch (cause) {
      throw new ChatTemplateError({
        message: `the chat template in ${path} ${what}: ${cause instanceof Error ? cause.message : String(cause)}`,
        path
      })
    }
  }
  const parse = (text: string): Template => attempt("cannot be read", () => new Template(text))
  const run = (
    template: Template,
    messages: ReadonlyArray<ChatMessage>,
    { addGenerationPrompt, tools }: RenderOptions
  ): string =>
    attempt("refuses this conversation", () =>
      template.render({
        messages,
        add_generation_prompt: addGenerationPrompt,
        bos_token: tokens.bosToken,
        eos_token: tokens.eosToken,
        tools: tools ?? null // transformers always names it: templates ask whether it is none
      })
    )
  const plain = parse(source)
  const render: ChatTemplate["render"] = (messages, options) => run(plain, messages, options)
  if (source.search(TAG) < 0) return { source, render }
  const marked = parse(withMarks(source))
  return {
    source,
    render,
    pieces: (messages, options) => {
      const text = run(marked, messages, options)
      const pieces = cut(text)
      if (pieces.map((piece) => piece.text).join("") !== render(messages, options))
        throw new ChatTemplateError({
          message: `the conversation holds U+FDD0 or U+FDD1, which are no characters: take them out.`,
          path
        })
      return pieces
    }
  }
}

const cut = (text: string): ReadonlyArray<ChatPiece> =>
  text.split(OPEN).flatMap((part, i) => {
    if (i === 0) return part === "" ? [] : [{ text: part, supervised: false }]
    const at = part.indexOf(CLOSE)
    const [said, rest] = at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)]
    return [
      { text: said, supervised: true },
      { text: rest, supervised: false }
    ].filter((piece) => piece.text !== "")
  })
