import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, describe, test } from "node:test"
import { Effect } from "effect"
import type { DataModel } from "./DataModel.ts"
import { fakeTokenizer } from "./fakeTokenizer.ts"
import { jinjaTemplate } from "./jinjaTemplate.ts"
import { type PreparedData, prepareData } from "./prepareData.ts"
import { namedTemplate } from "./templates.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-sft-"))
after(() => rmSync(folder, { recursive: true }))

const write = (name: string, ...rows: ReadonlyArray<unknown>): string => {
  const path = join(folder, name)
  writeFileSync(path, rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""))
  return path
}
const tokenizer = fakeTokenizer()
const model: DataModel = {
  tokenizer,
  chatTemplate: namedTemplate("chatml"),
  vocabularySize: 5000,
  positions: 256,
  stopIds: [1, 3]
}
const bare: DataModel = { vocabularySize: 512, positions: 256 }
const run = <A>(options: unknown, use: (data: PreparedData) => A, of: DataModel = model): Promise<A> =>
  Effect.runPromise(Effect.scoped(Effect.map(prepareData(options, of), use)))
const failure = (options: unknown, of: DataModel = model) =>
  Effect.runPromise(Effect.scoped(Effect.flip(prepareData(options, of))))
const textOf = (ids: ArrayLike<number>) => tokenizer.texts(Array.from(ids)).join("")

describe("batches", () => {
  const numbers = write("numbers.jsonl", ...Array.from({ length: 10 }, (_, i) => ({ text: `row ${i}` })))
  const options = { data: numbers, batchSize: 2, gradAccumulationSteps: 2, seed: 3 }

  test("in the data's order without shuffling", async () => {
    await run({ ...options, shuffle: false }, ({ batches, stepsPerEpoch, rows }) => {
      assert.deepEqual([stepsPerEpoch, rows], [3, 10])
      const texts = [1, 2, 3, 4].map((step) => batches(step).map((micro) => micro.map(({ ids }) => textOf(ids))))
      assert.deepEqual(texts[0], [
        ["<s>row 0</s>", "<s>row 1</s>"],
        ["<s>row 2</s>", "<s>row 3</s>"]
      ])
      assert.deepEqual(texts[2], [["<s>row 8</s>", "<s>row 9</s>"]])
      assert.deepEqual(texts[3], texts[0])
    })
  })
  test("shuffled by seed, the same at every preparation, each row once an epoch", async () => {
    const epochs = (data: PreparedData) =>
      [1, 2].map((epoch) =>
        [1, 2, 3].flatMap((step) =>
          data
            .batches((epoch - 1) * 3 + step)
            .flat()
            .map(({ ids }) => textOf(ids))
        )
      )
    const [first, again, other] = await Promise.all([
      run(options, epochs),
      run(options, epochs),
      run({ ...options, seed: 4 }, epochs)
    ])
    assert.deepEqual(again, first)
    assert.notDeepEqual(other, first)
    assert.notDeepEqual(first[0], first[1])
    for (const epoch of first) assert.equal(new Set(epoch).size, 10)
  })
  test("hold rows out by fraction or from a file of their own", async () => {
    await run({ ...options, evaluationFraction: 0.3 }, ({ rows, evaluation, stepsPerEpoch, batches, report }) => {
      const held = evaluation.flat().map(({ sample }) => sample)
      const trained = Array.from({ length: stepsPerEpoch }, (_, i) => batches(i + 1))
        .flat(2)
        .map(({ sample }) => sample)
      assert.deepEqual([rows, held.length, evaluation.map((micro) => micro.length)], [7, 3, [2, 1]])
      assert.equal(new Set([...held, ...trained]).size, 10)
      assert.deepEqual([report.trainSequences, report.evaluationSequences], [7, 3])
    })
    const apart = write("apart.jsonl", { text: "held out" })
    await run({ ...options, evaluationData: apart }, ({ rows, evaluation, placeOf }) => {
      assert.deepEqual([rows, evaluation.flat().map(({ ids }) => textOf(ids))], [10, ["<s>held out</s>"]])
      assert.deepEqual(placeOf(10), { file: "apart.jsonl", unit: "line", number: 1 })
    })
  })
  test("name the shapes of a run, and a fingerprint of all that decides them", async () => {
    const ragged = write(
      "ragged.jsonl",
      { text: "a" },
      { text: "a b" },
      { text: "a b c" },
      { text: "b a" },
      { text: "b" }
    )
    await run({ data: ragged, batchSize: 2, shuffle: false }, ({ shapes, batches, stepsPerEpoch, fingerprint }) => {
      assert.deepEqual(shapes(stepsPerEpoch), [[3, 4], [5, 4], [3]])
      assert.deepEqual(
        batches(1)[0]!.map(({ ids }) => ids.length),
        [3, 4]
      )
      assert.match(fingerprint, /^[0-9a-f]{64}$/)
    })
    const prints = await Promise.all(
      [options, { ...options, seed: 4 }, { ...options, batchSize: 4 }, { ...options, data: ragged }, options].map((o) =>
        run(o, (d) => d.fingerprint)
      )
    )
    assert.equal(new Set(prints).size, 4)
    assert.equal(prints[4], prints[0])
  })
  test("mix sources by weight", async () => {
    const other = write("other.jsonl", { text: "other" })
    const data = [
      { path: numbers, weight: 0.5 },
      { path: other, weight: 3 }
    ]
    await run({ data, batchSize: 4, shuffle: false }, ({ batches, stepsPerEpoch }) => {
      const texts = [1, 2].flatMap((step) =>
        batches(step)
          .flat()
          .map(({ ids }) => textOf(ids))
      )
      assert.equal(stepsPerEpoch, 2)
      assert.deepEqual(texts.slice(5), ["<s>other</s>", "<s>other</s>", "<s>other</s>"])
    })
    await run({ data, packing: true, maxLength: 10, batchSize: 1, shuffle: false }, ({ batches, stepsPerEpoch }) => {
      const packs = Array.from({ length: stepsPerEpoch }, (_, i) => batches(i + 1)[0]!.map(({ sample }) => sample))
      // Five packs of two rows, half of them an epoch, and the other row three times; never both in one pack.
      assert.equal(packs.length, 3 + 3)
      assert.deepEqual(packs.slice(3), [[10], [10], [10]])
      assert.ok(packs.slice(0, 3).every((pack) => pack.length === 2))
    })
  })
  test("pack short rows, each a document of its own", async () => {
    await run(
      { data: numbers, batchSize: 1, packing: true, maxLength: 10, shuffle: false },
      ({ batches, stepsPerEpoch, rows }) => {
        assert.deepEqual([stepsPerEpoch, rows], [5, 10])
        const [micro] = batches(1)
        assert.deepEqual(
          micro!.map(({ ids }) => textOf(ids)),
          ["<s>row 0</s>", "<s>row 1</s>"]
        )
      }
    )
  })
})

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
  test("the golden curve's rows as JSONL, in order, for a model without a tokenizer", async () => {
    const bytes = readFileSync(new URL("../../../../shared/golden/curve/batches.safetensors", import.meta.url))
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
