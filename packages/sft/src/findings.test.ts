import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { jinjaTemplate } from "./jinjaTemplate.ts"
import { failure, model, run, write } from "./preparing.ts"

describe("the report", () => {
  test("counts and places what will spoil the training", async () => {
    const rows = [
      { prompt: "a", completion: " b" },
      { prompt: "a", completion: " b" },
      { prompt: "a b c d e f g h", completion: " i" },
      { prompt: "a b c d", completion: " e f g h" },
      { prompt: "a: ", completion: "b" }
    ]
    await run({ data: write("odd.jsonl", ...rows), maxLength: 8 }, ({ report, rows: kept }) => {
      assert.equal(kept, 4)
      const lines = Object.fromEntries(
        report.findings.map(({ code, places }) => [code, places.map((place) => place.number)])
      )
      assert.deepEqual(lines, {
        "nothing-supervised": [3],
        truncated: [3, 4],
        "answer-cut": [3, 4],
        duplicate: [2],
        "border-moved": [5]
      })
      assert.match(report.findings[0]!.message, /^1 row: nothing in them is learnt.*\(odd\.jsonl line 3\)$/)
      assert.deepEqual([report.rows, report.trainSequences, report.longestTokens], [5, 4, 8])
    })
  })
  test("an end that no row learns is an error, unless it is allowed", async () => {
    const chat = {
      ...model,
      chatTemplate: jinjaTemplate(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
      )
    }
    const turns = {
      messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" }
      ]
    }
    const data = write("endless.jsonl", turns, turns)
    const error = await failure({ data }, chat)
    assert.equal(error._tag, "UnfitData")
    assert.match(
      error.message,
      /^2 rows: in none of them a token that ends generation is learnt.*endless\.jsonl line 1, /
    )
    assert.match(error.message, /allow end-never-learnt$/)
    await run(
      { data, allow: ["end-never-learnt"] },
      ({ report }) => {
        assert.deepEqual(
          report.findings.map(({ code, severity }) => [code, severity]),
          [
            ["end-never-learnt", "error"],
            ["duplicate", "note"]
          ]
        )
      },
      chat
    )
    // One row that ends makes of the others a warning.
    await run(
      {
        data: [
          data,
          write("ends.jsonl", {
            messages: [
              { role: "user", content: "a" },
              { role: "assistant", content: "b</s>" }
            ]
          })
        ]
      },
      ({ report }) => {
        assert.deepEqual(
          report.findings.map(({ code, severity }) => [code, severity]),
          [
            ["never-stops", "warning"],
            ["duplicate", "note"]
          ]
        )
      },
      chat
    )
  })
  test("labels whose ends are masked in every row, as pad = EOS does, are an error", async () => {
    const row = { input_ids: [5, 6, 7, 1], labels: [-100, 6, 7, -100] }
    const error = await failure({ data: write("masked.jsonl", row) })
    assert.match(error.message, /pad = EOS.*masked\.jsonl line 1/)
    await run(
      { data: write("some.jsonl", row, { input_ids: [5, 6, 7, 1], labels: [-100, 6, 7, 1] }) },
      ({ report }) => {
        assert.deepEqual(
          report.findings.map(({ code, severity }) => [code, severity]),
          [
            ["never-stops", "warning"],
            ["end-masked", "warning"]
          ]
        )
      }
    )
  })
  test("names held-out rows that are trained on", async () => {
    const options = {
      data: write("seen.jsonl", { text: "a" }),
      evaluationData: write("held.jsonl", { text: "b" }, { text: "a" })
    }
    await run(options, ({ report }) => {
      assert.deepEqual(
        report.findings.map(({ code, places }) => [code, places]),
        [["held-out-is-trained", [{ file: "held.jsonl", unit: "line", number: 2 }]]]
      )
    })
  })
})
