import assert from "node:assert/strict"
import { test } from "node:test"
import { oneArena, ReferenceQueue, Scope, sourceOf } from "@graft/core"
import { blockFormats } from "@graft/gguf"
import { testWeight } from "@graft/testing"
import { blockWeight } from "./blockWeight.ts"
import { ggufCodec } from "./ggufCodec.ts"
import { randomBlocks } from "./randomBlocks.ts"

const reference = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }

for (const { name, elements } of blockFormats.values()) {
  testWeight("reference", reference, {
    name,
    codec: ggufCodec(),
    make: (out, inner) => randomBlocks(name, out, inner, 7),
    error: 0,
    shapes: [
      [1, elements],
      [5, 3 * elements]
    ]
  })
}

const onReference = async (body: (scope: Scope) => void | Promise<void>): Promise<void> => {
  const queue = new ReferenceQueue([1 << 20])
  await body(new Scope(queue, "weights"))
  await queue.close()
}

test("what the file does not quantise is dense, in the file's dtype or another", () =>
  onReference((scope) => {
    const source = sourceOf("w", [2, 3], () => [1, 2, 3, 4, 5, 6], "f16")
    assert.equal(ggufCodec().encode(source, scope, "w").bytes, 12)
    assert.equal(ggufCodec("f32").encode(source, scope, "w").bytes, 24)
    const file = { names: ["w.weight"], get: (name: string) => (name === "w.weight" ? source : undefined) }
    assert.equal(ggufCodec().adopt?.(file, "w", scope), undefined)
    assert.equal(ggufCodec().adopt?.(file, "absent", scope), undefined)
  }))

test("adopted as they lie: the bytes of the storage are the file's", () =>
  onReference(async (scope) => {
    const source = randomBlocks("Q4_K", 3, 512, 1)
    const weight = ggufCodec().adopt?.({ names: ["w.weight"], get: () => source }, "w", scope)
    assert.ok(weight !== undefined)
    assert.equal(weight.bytes, 3 * 2 * 144)
    assert.deepEqual(await scope.queue.readBytes(weight.storage[0]!), source.blocks?.source.read())
  }))

test("blocks of another size than the shape, or of an unknown format", () =>
  onReference((scope) => {
    const { blocks, ...rest } = randomBlocks("Q8_0", 2, 64, 1)
    assert.throws(
      () => blockWeight({ ...rest, shape: [2, 32], blocks: blocks! }, scope, "layer.w"),
      /layer\.w: \[2, 32\] in Q8_0 takes u8 \[2, 34\], got u8 \[2, 68\]/
    )
    assert.throws(() => blockWeight({ ...rest, shape: [2, 33], blocks: blocks! }, scope, "w"), TypeError)
    assert.equal(blockWeight({ ...rest, blocks: { ...blocks!, format: "Q9_9" } }, scope, "w"), undefined)
    assert.equal(blockWeight(rest, scope, "w"), undefined)
  }))
