/**
 * Conversations as OpenAI writes them (`role`, `content`) and as ShareGPT does (`from`, `value`), in the first form.
 */
import type { Message } from "./ChatTemplate.ts"
import { type Column, describe, invalid, parsed } from "./Column.ts"

/** ShareGPT's names of the speakers. */
const roles: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  bing: "assistant",
  bard: "assistant",
  model: "assistant",
  assistant: "assistant",
  system: "system",
  tool: "tool",
  function: "tool",
  observation: "tool",
  function_call: "assistant"
}

/** The turns of a column; a text is taken as JSON, as tables have it. `system` is another column that may open them. */
export const readMessages = (column: Column, system?: Column): ReadonlyArray<Message> => {
  const list = typeof column.value === "string" ? parsed(column, column.value) : column.value
  if (!Array.isArray(list))
    throw invalid(column, `got ${describe(list)}; wanted a list of turns, [{"role": "user", "content": "…"}, …]`)
  if (list.length === 0) throw invalid(column, "the list of turns is empty")
  const messages = list.map((turn: unknown, i) => readTurn(turn, i, column))
  const opening = system?.value
  return typeof opening === "string" && opening !== "" && messages[0]!.role !== "system"
    ? [{ role: "system", content: opening }, ...messages]
    : messages
}

const readTurn = (turn: unknown, i: number, column: Column): Message => {
  if (typeof turn !== "object" || turn === null || Array.isArray(turn)) {
    throw invalid(column, `turn ${i + 1} is ${describe(turn)}; wanted {"role": …, "content": …}`)
  }
  const fields = turn as Readonly<Record<string, unknown>> // a decoded object
  if (fields["role"] === undefined && fields["from"] !== undefined) {
    const { from, value } = fields
    const role = typeof from === "string" ? roles[from] : undefined
    if (role === undefined)
      throw invalid(column, `turn ${i + 1} is from ${describe(from)}; wanted ${Object.keys(roles).join(", ")}`)
    return { role, content: contentOf(value, i, column) }
  }
  const { role, content, ...rest } = fields
  if (typeof role !== "string" || role === "") {
    throw invalid(
      column,
      `turn ${i + 1} has role ${describe(role)} (fields: ${Object.keys(fields).slice(0, 10).join(", ")}); wanted system, user, assistant or tool`
    )
  }
  return { role, content: contentOf(content, i, column), ...rest }
}

/** A text, or parts that are all text, which are joined. Nothing (a turn that only calls tools) is an empty text: templates take that. */
const contentOf = (content: unknown, i: number, column: Column): string => {
  if (typeof content === "string") return content
  if (content === undefined || content === null) return ""
  if (!Array.isArray(content)) throw invalid(column, `turn ${i + 1} has content ${describe(content)}; wanted a text`)
  return content
    .map((part: unknown) => {
      const text = typeof part === "object" && part !== null && "text" in part ? part.text : part
      if (typeof text !== "string")
        throw invalid(column, `turn ${i + 1} has a part that is not text; this model reads text only`)
      return text
    })
    .join("")
}
