import assert from "node:assert/strict"
import { describe, test } from "node:test"
import type { PreparedData } from "./prepareData.ts"
import { run, textOf, write } from "./preparing.ts"

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
