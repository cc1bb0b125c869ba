import assert from "node:assert/strict"
import { join } from "node:path"
import { describe, test } from "node:test"
import type { DataModel } from "./DataModel.ts"
import { bare, failure, folder, model, write } from "./preparing.ts"
import { namedTemplate } from "./templates.ts"

describe("what is wrong is a typed error with its place", () => {
  const cases: ReadonlyArray<readonly [string, () => unknown, string, RegExp, DataModel?]> = [
    ["a misspelt option", () => ({ data: "x", batchsize: 3 }), "BadOptions", /batchsize.*batchSize/],
    [
      "every bad option at once",
      () => ({ data: [], maxLength: 1, columns: {} }),
      "BadOptions",
      /data[\s\S]*maxLength|maxLength[\s\S]*data/
    ],
    ["a question part alone", () => ({ data: "x", questionPart: "Q:" }), "BadOptions", /wanted responsePart too/],
    ["a misspelt column", () => ({ data: "x", columns: { promt: "q" } }), "BadOptions", /promt.*prompt/],
    [
      "a file that is not there",
      () => ({ data: join(folder, "none.jsonl") }),
      "UnreadableData",
      /none\.jsonl: there is no such file/
    ],
    ["a file of an unknown kind", () => ({ data: write("x.docx", "") }), "UnreadableData", /\.docx; wanted \.jsonl/],
    ["an empty file", () => ({ data: write("empty.jsonl", "", "") }), "EmptyDataset", /empty\.jsonl: there is no row/],
    [
      "malformed JSON",
      () => ({ data: write("bad.jsonl", { text: "a" }, '{"text":') }),
      "MalformedRow",
      /bad\.jsonl line 2: not JSON/
    ],
    [
      "a row without its columns",
      () => ({ data: write("cols.jsonl", { text: "a" }, { txt: "b" }) }),
      "MissingColumns",
      /cols\.jsonl line 2: the row has the columns txt; wanted text\. Does txt mean text/
    ],
    [
      "nothing to learn",
      () => ({ data: write("none.jsonl", { input_ids: [1, 2], labels: [-100, -100] }) }),
      "NothingSupervised",
      /none of the 1 rows/
    ],
    [
      "all answers beyond the length",
      () => ({ data: write("long.jsonl", { prompt: "a b c d e", completion: " f" }), maxLength: 3 }),
      "NothingSupervised",
      /longer than maxLength/
    ],
    [
      "a token outside the vocabulary",
      () => ({ data: write("vocab.jsonl", { input_ids: [1, 600] }) }),
      "TokenOutsideVocabulary",
      /token 600 at position 1 .* 512/,
      bare
    ],
    [
      "a row beyond the model's positions",
      () => ({ data: write("positions.jsonl", { input_ids: Array.from({ length: 300 }, () => 5) }) }),
      "SequenceBeyondPositions",
      /300 tokens, and the model has 256/,
      bare
    ],
    [
      "a length beyond the model's positions",
      () => ({ data: "x", maxLength: 300 }),
      "SequenceBeyondPositions",
      /maxLength is 300.*Lower it to 256/
    ],
    [
      "text without a tokenizer",
      () => ({ data: write("text2.jsonl", { text: "a" }) }),
      "NoTokenizer",
      /input_ids/,
      bare
    ],
    [
      "a conversation without a template",
      () => ({ data: write("chat2.jsonl", { messages: [{ role: "user", content: "a" }] }) }),
      "NoChatTemplate",
      /chatml/,
      { ...model, chatTemplate: undefined }
    ],
    [
      "a conversation that the template refuses",
      () => ({ data: write("tool.jsonl", { messages: [{ role: "tool", content: "a" }] }) }),
      "TemplateFailed",
      /tool\.jsonl line 1: .*roles/,
      { ...model, chatTemplate: namedTemplate("llama-2") }
    ]
  ]
  for (const [name, options, tag, message, of] of cases) {
    test(name, async () => {
      const error = await failure(options(), of)
      assert.equal(error._tag, tag)
      assert.match(error.message, message)
    })
  }
})
