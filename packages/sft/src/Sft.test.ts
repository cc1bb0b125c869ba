import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { Dataset, type ModelDescription, ModelLoader, makePart } from "@graft/core"
import { Effect, Layer } from "effect"
import { fakeTokenizer } from "./fakeTokenizer.ts"
import { prepareData } from "./prepareData.ts"
import { previewRow, showPreview } from "./previewRow.ts"
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

test("a row is previewed as what is learnt and what is not", async () => {
  await Effect.runPromise(
    Effect.scoped(
      Effect.map(prepareData({ data }, { tokenizer, vocabularySize: 100, positions: 6 }), (prepared) => {
        const preview = previewRow(prepared, 1, tokenizer)
        assert.equal(showPreview(preview, false), "pairs.jsonl line 2: 4 tokens, 2 learnt\n<s>three⟦ four</s>⟧")
        assert.equal(showPreview(preview, true).split("\n")[1], "\x1b[2m<s>three\x1b[0m\x1b[32m four</s>\x1b[0m")
        assert.deepEqual(
          previewRow(prepared, 1).runs.map(({ text, ids }) => text === ids.join(" ")),
          [true, true]
        )
      })
    )
  )
})
