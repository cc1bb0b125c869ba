import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { describe, test } from "node:test"
import { beside, testBeside } from "@graft/testing"
import { bare, run, tokenizer, write } from "./preparing.ts"

describe("rows of every kind", () => {
  test("several files and folders in one run", async () => {
    const files = [
      write("text.jsonl", { text: "one" }),
      write("pair.jsonl", { prompt: "q:", completion: " a" }),
      write("chat.ndjson", {
        messages: [
          { role: "user", content: "hi" },
          { role: "assistant", content: "ho" }
        ]
      }),
      write("ids.jsonl", { input_ids: [8, 9, 10], labels: [-100, -100, 10] }),
      write("note.txt", "some words here")
    ]
    await run({ data: files, batchSize: 10, shuffle: false }, ({ batches, tokensOf, report }) => {
      assert.deepEqual(
        batches(1)[0]!
          .map(({ sample }) => {
            const { ids, supervised } = tokensOf(sample)
            return tokenizer
              .texts(ids)
              .map((text, i) => (supervised[i] ? `[${text}]` : text))
              .join("")
          })
          .filter((_, i) => i !== 3),
        [
          "<s>[one][</s>]",
          "<s>q:[ a][</s>]",
          "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[ho][<|im_end|>]\n",
          "<s>[some][ words][ here][\n][</s>]"
        ]
      )
      assert.deepEqual(batches(1)[0]![3], {
        sample: 3,
        ids: Int32Array.of(8, 9, 10),
        targets: Int32Array.of(-1, 10, -1)
      })
      assert.deepEqual([report.rows, report.tokens], [5, 3 + 5 + 12 + 3 + 6])
    })
  })
  const curve = "golden/curve/batches.safetensors"
  testBeside(curve)("the golden curve's rows as JSONL, in order, for a model without a tokenizer", async () => {
    const bytes = readFileSync(beside(curve))
    const headerBytes = Number(bytes.readBigUInt64LE(0))
    const values = Array.from({ length: 20 * 4 * 32 }, (_, i) => Number(bytes.readBigInt64LE(8 + headerBytes + 8 * i)))
    const rows = Array.from({ length: 80 }, (_, r) => ({ input_ids: values.slice(32 * r, 32 * (r + 1)) }))
    await run(
      { data: write("curve.jsonl", ...rows), batchSize: 4, shuffle: false },
      ({ batches, stepsPerEpoch, report }) => {
        assert.equal(stepsPerEpoch, 20)
        for (let step = 1; step <= 20; step++) {
          const [micro, ...more] = batches(step)
          assert.equal(more.length, 0)
          for (const [i, { ids, targets }] of micro!.entries()) {
            const wanted = rows[4 * (step - 1) + i]!.input_ids
            assert.deepEqual([...ids], wanted)
            assert.deepEqual([...targets], [...wanted.slice(1), -1])
          }
        }
        // The curve goes through its sixteen rows five times.
        assert.deepEqual(
          report.findings.map(({ code, rows }) => [code, rows]),
          [["duplicate", 64]]
        )
      },
      bare
    )
  })
})
