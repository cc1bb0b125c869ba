import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { Dataset, type ModelDescription, ModelLoader, makePart } from "@graft/core"
import { Effect, Layer } from "effect"
import { fakeTokenizer } from "./fakeTokenizer.ts"
import { prepareData } from "./prepareData.ts"
import { drawRows, previewRow, showPreview } from "./previewRow.ts"
import { Sft } from "./Sft.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-sft-layer-"))
after(() => rmSync(folder, { recursive: true }))
const data = join(folder, "pairs.jsonl")
writeFileSync(data, '{"prompt":"one","completion":" two"}\n{"prompt":"three","completion":" four"}\n')

const description: ModelDescription = {
  name: "tiny",
  vocabularySize: 100,
  maxPositions: 6,
  layers: [],
  linears: [],
  head: "lm_head",
  keyValueWidth: 1
}
const model = Layer.effect(
  ModelLoader,
  Effect.map(makePart("tiny"), (part) => ({
    part,
    description,
    codec: "dense",
    load: () => {
      throw new Error("preparing data loads no weights")
    }
  }))
)
const tokenizer = fakeTokenizer()

test("the layer is core's Dataset, for the model below it", async () => {
  const layer = Sft.layer({ data, batchSize: 2, shuffle: false }, { tokenizer }).pipe(Layer.provide(model))
  const dataset = await Effect.runPromise(Effect.provide(Dataset, layer))
  assert.equal(dataset.part.name, "sft")
  assert.equal(dataset.stepsPerEpoch, 1)
  const [micro] = dataset.batches(1)
  assert.deepEqual(
    micro!.map(({ sample, ids, targets }) => [sample, ids.length, targets.length]),
    [
      [0, 4, 4],
      [1, 4, 4]
    ]
  )
})

test("the layer refuses a length that the model below it does not take", async () => {
  const layer = Sft.layer({ data, maxLength: 7 }, { tokenizer }).pipe(Layer.provide(model))
  const error = await Effect.runPromise(Effect.flip(Effect.provide(Dataset, layer)))
  assert.equal(error._tag, "SequenceBeyondPositions")
})

test("a preview draws its rows by seed, and shows control characters instead of obeying them", () => {
  assert.deepEqual(drawRows(3, 5, 1), [0, 1, 2])
  assert.equal(drawRows(1000, 5, 1).length, 5)
  assert.notDeepEqual(drawRows(1000, 5, 1), drawRows(1000, 5, 2))
  const place = { file: "x", unit: "line", number: 1 } as const
  const run = { text: "a\x1b[2J\u009b\x7f\n\tb", ids: [1], texts: [], supervised: false }
  const shown = showPreview({ place, tokens: 1, supervisedTokens: 0, runs: [run] }, { colour: false })
  assert.equal(shown.split("\n").slice(1).join("\n"), "a␛[2J\ufffd␡\n\tb")
})

test("a row is previewed as what is learnt and what is not", async () => {
  await Effect.runPromise(
    Effect.scoped(
      Effect.map(prepareData({ data }, { tokenizer, vocabularySize: 100, positions: 6 }), (prepared) => {
        const preview = previewRow(prepared, 1, tokenizer)
        assert.equal(
          showPreview(preview, { colour: false }),
          "pairs.jsonl line 2: 4 tokens, 2 learnt\n<s>three⟦ four</s>⟧"
        )
        assert.equal(
          showPreview(preview, { colour: true }).split("\n")[1],
          "\x1b[2m<s>three\x1b[0m\x1b[32m four</s>\x1b[0m"
        )
        assert.equal(
          showPreview(preview, { colour: false, tokens: true }).split("\n").slice(1).join("\n"),
          preview.runs
            .flatMap(({ ids, texts, supervised }) => ids.map((id, i) => [id, texts[i], supervised] as const))
            .map(
              ([id, text, supervised], place) =>
                `     ${place}  ${String(id).padStart(2)} ${supervised ? "+" : " "}  "${text}"`
            )
            .join("\n")
        )
        assert.deepEqual(
          previewRow(prepared, 1).runs.map(({ text, ids }) => text === ids.join(" ")),
          [true, true]
        )
      })
    )
  )
})
