/** ggml's blocks as frozen weights on every instruction set that this machine runs: gguf-py's bits, the operator, its threads. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { type ActivationDType, narrow, type Queue, ReferenceQueue, Scope, type SourceTensor, widen } from "@graft/core"
import { blockFormats } from "@graft/gguf"
import { ggufCodec } from "@graft/gguf-quant"
import { randomBlocks } from "@graft/gguf-quant/randomBlocks"
import { memorySource, parseSafetensors } from "@graft/safetensors"
import { randomTensor, testWeight } from "@graft/testing"

const fixture = fileURLToPath(new URL("../../../gguf/fixtures/dequantized.safetensors", import.meta.url))
const golden = parseSafetensors(memorySource(fixture, readFileSync(fixture)))
const bytesOf = (name: string): Uint8Array => new Uint8Array(golden.tensors.get(name)!.read())

const native = loadNative()
const limits = cpuLimits(native.info(), 2)
const cpu = (isa: string, threads = 2, bytes: ReadonlyArray<number> = [1 << 24]): Queue =>
  new CpuQueue(native, bytes, limits, { threads, isa })
const queues: ReadonlyArray<readonly [string, () => Queue]> = [
  ["reference", () => new ReferenceQueue([1 << 24])],
  ...native.info().isas.map((isa) => [isa, () => cpu(isa)] as const)
]

const dequantized = async (queue: Queue, source: SourceTensor, dtype: ActivationDType): Promise<Uint8Array> => {
  const scope = new Scope(queue, "weights")
  const weight = ggufCodec().encode(source, scope, "w")
  assert.equal(weight.bytes, source.blocks?.source.read().byteLength, "resident bytes are the file's")
  const all = scope.tensor([weight.outFeatures, weight.inFeatures], "W", dtype)
  weight.dequantizeRows(all, 0)
  const found = await queue.readBytes(all)
  await queue.close()
  return found
}

for (const { name, elements, bytes } of blockFormats.values()) {
  test(`${name}: gguf-py's bits in f32, and these rounded in bf16`, async () => {
    const blocks = bytesOf(`${name}.blocks`)
    const values = bytesOf(`${name}.values`)
    const [rows, inRow] = [4, blocks.byteLength / bytes / 4]
    const source: SourceTensor = {
      name,
      shape: [rows, inRow * elements],
      dtype: "f32",
      read: () => values,
      blocks: { format: name, source: { name, shape: [rows, inRow * bytes], dtype: "u8", read: () => blocks } }
    }
    for (const [where, open] of queues) {
      for (const dtype of ["f32", "bf16"] as const) {
        const got = widen(await dequantized(open(), source, dtype), dtype)
        const want = dtype === "f32" ? widen(values, "f32") : widen(narrow(widen(values, "f32"), "bf16"), "bf16")
        const wrong = want.findIndex((value, i) => !Object.is(value, got[i]))
        assert.equal(wrong, -1, `${where} ${dtype}, number ${wrong}: ${want[wrong]} became ${got[wrong]}`)
      }
    }
  })
  for (const isa of native.info().isas) {
    testWeight(
      `cpu ${isa}`,
      { limits, open: (sizes) => cpu(isa, 2, sizes) },
      {
        name,
        codec: ggufCodec(),
        make: (out, inner) => randomBlocks(name, out, inner, 7),
        error: 0,
        shapes: [
          [1, elements],
          [5, 3 * elements],
          [70, 2 * elements]
        ]
      }
    )
  }
}

test("products by packed blocks have the same bits for any number of threads, and are those by the dense matrix", {
  timeout: 60_000
}, async () => {
  const [out, inner] = [70, 256]
  for (const { name } of blockFormats.values()) {
    const source = randomBlocks(name, out, inner, 3)
    const { blocks: _, ...dense } = source
    for (const tokens of [3, 40]) {
      const results: Array<readonly Uint8Array[]> = []
      for (const [threads, from] of [
        [1, source],
        [2, source],
        [2, dense]
      ] as const) {
        const queue = cpu(native.info().isa, threads)
        const scope = new Scope(queue, "weights")
        const weight = ggufCodec().encode(from, scope, "w")
        const [x, dy] = [randomTensor(scope, "x", [tokens, inner], 1), randomTensor(scope, "dy", [tokens, out], 2)]
        const [y, dx] = [scope.tensor([tokens, out], "y"), scope.tensor([tokens, inner], "dx")]
        weight.apply(y, x)
        weight.applyTransposed(dx, dy)
        results.push([await queue.readBytes(y), await queue.readBytes(dx)])
        await queue.close()
      }
      assert.deepEqual(results[1], results[0], `${name}, ${tokens} tokens: threads`)
      // Of a few tokens the dense path adds in another order.
      if (tokens === 40) assert.deepEqual(results[2], results[0], `${name}: dense`)
    }
  }
})
