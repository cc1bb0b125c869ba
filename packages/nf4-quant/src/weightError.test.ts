import assert from "node:assert/strict"
import { test } from "node:test"
import { oneArena, ReferenceQueue, sizeOf, sourceOf } from "@graft/core"
import { Effect } from "effect"
import { nf4 } from "./codebooks.ts"
import { plainScales } from "./plainScales.ts"
import { quantizeTensor, quantizingBytes } from "./quantizeTensor.ts"
import { SLICE } from "./sliceOfSource.ts"
import { weightError } from "./weightError.ts"

const format = { codebook: nf4, scales: plainScales, blockSize: 64 } as const
const limits = oneArena("reference")

test("values of the code book have no error; one that is off decides it, and its block is the worst", async () => {
  const exact = Array.from({ length: 4 * 64 }, (_, i) => nf4.values[i % 16]!)
  const queue = new ReferenceQueue([1 << 16])
  const errorOf = async (values: ReadonlyArray<number>) => {
    const source = sourceOf("w", [2, 128], () => values)
    const saved = await Effect.runPromise(quantizeTensor(queue, source, "w", format))
    return weightError(source, saved, format)
  }
  assert.deepEqual(await errorOf(exact), {
    relativeError: 0,
    worstBlock: { row: 0, column: 0, relativeError: 0 },
    bitsPerParameter: 4.5
  })
  const off = exact.with(128 + 64 + 7, 0.03) // nearest to 0
  const { relativeError, worstBlock } = await errorOf(off)
  const norm = (values: ReadonlyArray<number>) => Math.sqrt(values.reduce((n, x) => n + x * x, 0))
  assert.ok(Math.abs(relativeError - Math.fround(0.03) / norm(off)) < 1e-8)
  assert.deepEqual([worstBlock.row, worstBlock.column], [1, 64])
  assert.ok(Math.abs(worstBlock.relativeError - Math.fround(0.03) / norm(off.slice(192))) < 1e-8)
  assert.equal((await errorOf(exact.map(() => 0))).relativeError, 0)
  await queue.close()
})

test("a tensor is quantised in parts: what the device takes does not grow with it, but for its scales", () => {
  const bytes = (elements: number) => {
    const source = sourceOf("w", [elements / 1024, 1024], () => [])
    return quantizingBytes(limits, [source], format).reduce((a, b) => a + b, 0)
  }
  const part = bytes(SLICE)
  const size = 8 * SLICE
  assert.ok(part < 5 * SLICE, `${part}`)
  assert.ok(bytes(size) <= Math.max(part, (8 * size) / 64 + 1024), `${bytes(size)}`)
})

test("parts are the whole: the same codes and scales across the border of a part", { timeout: 60_000 }, async () => {
  const rows = SLICE / 4096 + 1
  const values = Float32Array.from({ length: rows * 4096 }, (_, i) => Math.fround(((i * 7919) % 1009) / 1009 - 0.5))
  const source = sourceOf("w", [rows, 4096], () => values)
  const queue = new ReferenceQueue(quantizingBytes(limits, [source], format))
  const saved = await Effect.runPromise(quantizeTensor(queue, source, "w", format))
  const tail = sourceOf("w", [1, 4096], () => values.subarray(SLICE))
  const alone = await Effect.runPromise(quantizeTensor(queue, tail, "w", format))
  assert.equal(saved.codes.length, 2)
  assert.deepEqual(saved.codes[1], alone.codes[0])
  assert.deepEqual([...saved.scales[0]!].slice(SLICE / 64), [...alone.scales[0]!])
  assert.equal(saved.bytes, sizeOf(source.shape) * (1 / 2 + 4 / 64))
  await queue.close()
})
