import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { InvalidColumn, MalformedRow, MissingColumns } from "./DataError.ts"
import type { Place } from "./Place.ts"
import { rowReader } from "./readRow.ts"

const place: Place = { file: "rows.jsonl", unit: "line", number: 7 }
const read = (value: unknown, columns = {}) => rowReader(columns)(value, place)
const user = (content: string) => ({ role: "user", content })
const assistant = (content: string) => ({ role: "assistant", content })

describe("columns", () => {
  test("text", () => assert.deepEqual(read({ text: "a", id: 1 }), { kind: "text", text: "a" }))
  test("prompt and completion", () => {
    assert.deepEqual(read({ prompt: "a", completion: "b", text: "c" }), {
      kind: "completion",
      prompt: "a",
      completion: "b"
    })
  })
  test("prompt and completion as turns: only the completion is learnt", () => {
    assert.deepEqual(read({ prompt: [user("a"), assistant("b"), user("c")], completion: [assistant("d")] }), {
      kind: "messages",
      messages: [user("a"), assistant("b"), user("c"), assistant("d")],
      answersFrom: 3
    })
  })
  test("messages, with tools, other fields kept, parts of text joined", () => {
    const row = {
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" }
          ],
          name: "Ann"
        },
        { role: "assistant", tool_calls: [1] }
      ],
      tools: '[{"name":"f"}]'
    }
    assert.deepEqual(read(row), {
      kind: "messages",
      messages: [
        { role: "user", content: "ab", name: "Ann" },
        { role: "assistant", content: "", tool_calls: [1] }
      ],
      answersFrom: 0,
      tools: [{ name: "f" }]
    })
  })
  test("messages as JSON text, as tables have them", () => {
    assert.deepEqual(read({ messages: JSON.stringify([user("a")]) }), {
      kind: "messages",
      messages: [user("a")],
      answersFrom: 0
    })
  })
  test("ShareGPT's conversations", () => {
    const row = {
      conversations: [
        { from: "human", value: "a" },
        { from: "gpt", value: "b" }
      ],
      system: "be brief"
    }
    assert.deepEqual(read(row), {
      kind: "messages",
      messages: [{ role: "system", content: "be brief" }, user("a"), assistant("b")],
      answersFrom: 0
    })
  })
  test("Alpaca's instruction, input, output, with history", () => {
    assert.deepEqual(read({ instruction: "add", input: "1 1", output: "2", history: [["x", "y"]], system: "" }), {
      kind: "messages",
      messages: [user("x"), assistant("y"), user("add\n\n1 1"), assistant("2")],
      answersFrom: 0
    })
  })
  test("rows already tokenised, padding cut off at both ends", () => {
    assert.deepEqual(read({ input_ids: [1, 2, 3], labels: [-100, 2, 3] }), {
      kind: "tokens",
      ids: [1, 2, 3],
      labels: [-100, 2, 3]
    })
    assert.deepEqual(read({ input_ids: [0, 1, 2, 0], attention_mask: [0, 1, 1, 0], labels: [-100, -100, 2, -100] }), {
      endHidden: 0,
      kind: "tokens",
      ids: [1, 2],
      labels: [-100, 2]
    })
  })
  test("as a table has them: lists as JSON, empty texts where there is nothing", () => {
    assert.deepEqual(read({ input_ids: "[1, 2]", labels: "", attention_mask: "" }), {
      kind: "tokens",
      ids: [1, 2],
      labels: undefined
    })
    assert.deepEqual(read({ instruction: "a", input: "", output: "", system: "", history: "", tools: "" }), {
      kind: "messages",
      messages: [user("a"), assistant("")],
      answersFrom: 0
    })
  })
  test("under other names", () => {
    assert.deepEqual(read({ question: "a", answer: "b" }, { prompt: "question", completion: "answer" }), {
      kind: "completion",
      prompt: "a",
      completion: "b"
    })
  })
})

const fails = (value: unknown, error: abstract new (...args: never) => unknown, message: RegExp) =>
  assert.throws(
    () => read(value),
    (e: unknown) => {
      assert.ok(e instanceof error && e instanceof Error)
      assert.match(e.message, /^rows\.jsonl line 7: /)
      assert.match(e.message, message)
      return true
    }
  )

describe("rows that are none", () => {
  test("name the place, the columns found, and the column most likely meant", () => {
    fails(
      { promt: "a", completion: "b" },
      MissingColumns,
      /the columns promt, completion; .*prompt \+ completion.*Does promt mean prompt\? .*columns: \{"prompt": "promt"\}/
    )
    fails({ question: "a" }, MissingColumns, /Rename the columns/)
    fails({}, MissingColumns, /no columns/)
    fails({ text: null }, MissingColumns, /text \(null\)/)
  })
  test("all rows have the columns of the first", () => {
    const reader = rowReader()
    reader({ text: "a" }, place)
    assert.throws(
      () => reader({ prompt: "a", completion: "b" }, place),
      (e: unknown) => e instanceof MissingColumns && /wanted text\. All rows/.test(e.message)
    )
  })
  test("are refused by what they are", () => {
    fails([1], MalformedRow, /got a list; wanted an object/)
    fails("text", MalformedRow, /got "text"/)
    fails(null, MalformedRow, /got null/)
  })
  test("have columns of the wrong kind", () => {
    fails({ text: 5 }, InvalidColumn, /column text: got 5; wanted a text/)
    fails({ input_ids: [1, 2.5] }, InvalidColumn, /item 1 is 2.5/)
    fails({ input_ids: 5 }, InvalidColumn, /wanted a list of whole numbers/)
    fails({ input_ids: "1 2" }, InvalidColumn, /the text is not JSON/)
    fails({ input_ids: [1, 2], labels: [1] }, InvalidColumn, /1 labels for 2 input_ids/)
    fails({ input_ids: [1, 2, 3], attention_mask: [1, 0, 1] }, InvalidColumn, /not 1 between/)
    fails({ messages: [] }, InvalidColumn, /empty/)
    fails({ messages: "[" }, InvalidColumn, /not JSON/)
    fails({ messages: [{ content: "x" }] }, InvalidColumn, /turn 1 has role nothing \(fields: content\)/)
    fails({ messages: [{ role: "user", content: [{ type: "image" }] }] }, InvalidColumn, /a part that is not text/)
    fails({ conversations: [{ from: "alien", value: "x" }] }, InvalidColumn, /turn 1 is from "alien"; wanted human/)
    fails({ instruction: "a", output: "b", history: [["x"]] }, InvalidColumn, /pairs/)
    fails({ messages: [user("a")], tools: {} }, InvalidColumn, /column tools: got an object/)
  })
})
