/**
 * Understands the columns of a row. Which columns a source has is settled by its first row (the order below; the
 * conventions are formats.md's and TRL's): a later row without them is an error, not another kind of row.
 */
import { nearest } from "@graft/core"
import type { Message } from "./ChatTemplate.ts"
import { type Column, describe, invalid, parsed } from "./Column.ts"
import { MalformedRow, MissingColumns } from "./DataError.ts"
import type { Place } from "./Place.ts"
import type { Row } from "./Row.ts"
import { readMessages } from "./readMessages.ts"

/** The names of columns that mean something here, and what they are called in the data when it calls them otherwise. */
export type ColumnNames = Readonly<Partial<Record<ColumnName, string>>>
export const columnNames = [
  "input_ids",
  "labels",
  "attention_mask",
  "messages",
  "conversations",
  "tools",
  "prompt",
  "completion",
  "instruction",
  "input",
  "output",
  "system",
  "history",
  "text"
] as const
export type ColumnName = (typeof columnNames)[number]

type Columns = (name: ColumnName) => Column
interface Layout {
  readonly needs: ReadonlyArray<ColumnName>
  readonly read: (columns: Columns) => Row
}

const layouts: ReadonlyArray<Layout> = [
  { needs: ["input_ids"], read: readTokens },
  {
    needs: ["messages"],
    read: (columns) => conversation(readMessages(columns("messages"), columns("system")), 0, columns)
  },
  {
    needs: ["conversations"],
    read: (columns) => conversation(readMessages(columns("conversations"), columns("system")), 0, columns)
  },
  { needs: ["prompt", "completion"], read: readCompletion },
  { needs: ["instruction", "output"], read: readInstruction },
  { needs: ["text"], read: (columns) => ({ kind: "text", text: string(columns("text")) }) }
]

/** Reads the rows of one source, in order. */
export const rowReader = (names: ColumnNames = {}): ((value: unknown, place: Place) => Row) => {
  const nameOf = (column: ColumnName) => names[column] ?? column
  let layout: Layout | undefined
  return (value, place) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new MalformedRow({ place, problem: `got ${describe(value)}; wanted an object of columns, {"text": …}` })
    }
    const row = value as Readonly<Record<string, unknown>> // a decoded object: its keys are columns
    const has = (column: ColumnName) =>
      Object.hasOwn(row, nameOf(column)) && row[nameOf(column)] !== null && row[nameOf(column)] !== undefined
    const first = layout === undefined
    layout ??= layouts.find((candidate) => candidate.needs.every(has))
    if (layout === undefined || !layout.needs.every(has)) {
      throw missing(
        place,
        row,
        (layout === undefined ? layouts : [layout]).map((l) => l.needs.map(nameOf)),
        first
      )
    }
    const { needs, read } = layout
    // A table cannot leave a field out: an empty text in a column that need not be there is nothing.
    const given = (column: ColumnName) => has(column) && (needs.includes(column) || row[nameOf(column)] !== "")
    return read((column) => ({ name: nameOf(column), place, value: given(column) ? row[nameOf(column)] : undefined }))
  }
}

const missing = (
  place: Place,
  row: Readonly<Record<string, unknown>>,
  wanted: ReadonlyArray<ReadonlyArray<string>>,
  first: boolean
) => {
  const found = Object.keys(row)
  const absent = wanted.flat().filter((name) => !found.includes(name))
  const guesses = absent.flatMap((name) => {
    const near = nearest(
      name,
      found.filter((column) => !wanted.flat().includes(column))
    )
    return near === undefined
      ? []
      : [`Does ${near} mean ${name}? Rename it, or map it (columns: {"${name}": "${near}"})`]
  })
  const rule = first
    ? "Rename the columns, or say what they are called with the option columns"
    : "All rows of a file have the columns of its first"
  return new MissingColumns({
    place,
    found: found.slice(0, 20).map((name) => name.slice(0, 60) + (row[name] === null ? " (null)" : "")),
    wanted: wanted.map((names) => names.join(" + ")).join(", or "),
    hint: guesses[0] ?? rule
  })
}

function readTokens(columns: Columns): Row {
  const ids = integers(columns("input_ids"))
  const labels = columns("labels").value === undefined ? undefined : integers(columns("labels"))
  if (labels !== undefined && labels.length !== ids.length) {
    throw invalid(
      columns("labels"),
      `${labels.length} labels for ${ids.length} input_ids; wanted one a token, -100 where nothing is learnt`
    )
  }
  const mask = columns("attention_mask")
  if (mask.value === undefined) return { kind: "tokens", ids, labels }

  // Padding is cut off: sequences need none here. It may lie at either end; a hole inside has no meaning for causal attention.
  const kept = integers(mask)
  if (kept.length !== ids.length) throw invalid(mask, `${kept.length} values for ${ids.length} input_ids`)
  const from = kept.indexOf(1)
  const to = kept.lastIndexOf(1) + 1
  if (from < 0) return { kind: "tokens", ids: [], labels: labels && [] }
  if (kept.slice(from, to).some((value) => value !== 1))
    throw invalid(mask, "it is not 1 between its first and its last 1")
  const row = { kind: "tokens", ids: ids.slice(from, to), labels: labels?.slice(from, to) } as const
  return to < ids.length ? { ...row, endHidden: ids[to] } : row
}

function readCompletion(columns: Columns): Row {
  const prompt = columns("prompt")
  const completion = columns("completion")
  if (typeof prompt.value === "string" && typeof completion.value === "string") {
    return { kind: "completion", prompt: prompt.value, completion: completion.value }
  }
  const turns = readMessages(prompt, columns("system"))
  return conversation([...turns, ...readMessages(completion)], turns.length, columns)
}

/** Alpaca: the input is part of the question, and earlier turns lie in `history` as pairs. */
function readInstruction(columns: Columns): Row {
  const system = columns("system")
  const input = columns("input").value === undefined ? "" : string(columns("input"))
  const instruction = string(columns("instruction"))
  const history = columns("history")
  if (history.value !== undefined && !Array.isArray(history.value))
    throw invalid(history, `got ${describe(history.value)}; wanted a list of pairs`)
  const earlier = ((history.value ?? []) as ReadonlyArray<unknown>).flatMap((pair): ReadonlyArray<Message> => {
    if (!Array.isArray(pair) || typeof pair[0] !== "string" || typeof pair[1] !== "string")
      throw invalid(history, "wanted pairs of texts")
    return [
      { role: "user", content: pair[0] },
      { role: "assistant", content: pair[1] }
    ]
  })
  const messages = [
    ...(system.value === undefined ? [] : [{ role: "system", content: string(system) }]),
    ...earlier,
    { role: "user", content: input === "" ? instruction : `${instruction}\n\n${input}` },
    { role: "assistant", content: string(columns("output")) }
  ]
  return conversation(messages, 0, columns)
}

const conversation = (messages: ReadonlyArray<Message>, answersFrom: number, columns: Columns): Row => {
  const tools = columns("tools")
  if (tools.value === undefined) return { kind: "messages", messages, answersFrom }
  const list = typeof tools.value === "string" ? parsed(tools, tools.value) : tools.value
  if (!Array.isArray(list)) throw invalid(tools, `got ${describe(list)}; wanted a list`)
  return { kind: "messages", messages, answersFrom, tools: list }
}

const string = (column: Column): string => {
  if (typeof column.value !== "string") throw invalid(column, `got ${describe(column.value)}; wanted a text`)
  return column.value
}

const integers = (column: Column): ReadonlyArray<number> => {
  const value = typeof column.value === "string" ? parsed(column, column.value) : column.value
  if (!Array.isArray(value)) throw invalid(column, `got ${describe(value)}; wanted a list of whole numbers`)
  const wrong = value.findIndex((item) => !Number.isSafeInteger(item))
  if (wrong >= 0) throw invalid(column, `item ${wrong} is ${describe(value[wrong])}; wanted a whole number`)
  return value as ReadonlyArray<number> // each item is checked above
}
