/** Packed codes, scales and dequantised values against bitsandbytes' own, bit for bit. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import {
  type DType,
  narrow,
  type Queue,
  ReferenceQueue,
  type ScaleFormat,
  Scope,
  type SourceTensor,
  widen
} from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import { type BlockSize, blockSizeOf, blockSizes, fourBitCodec, fp4, nf4, plainScales } from "@graft/nf4-quant"
import { openSafetensors, type SafetensorsFile } from "@graft/safetensors"
import { testWeight } from "@graft/testing"
import { Effect } from "effect"

const golden = fileURLToPath(new URL("../../../../../shared/golden/", import.meta.url))
const floats = (file: SafetensorsFile, name: string) => widen(file.tensors.get(name)!.read(), "f32")
const bytes = (file: SafetensorsFile, name: string) => new Uint8Array(file.tensors.get(name)!.read())
const onFile = (name: string, body: (file: SafetensorsFile) => Promise<void>) =>
  openSafetensors(join(golden, name)).pipe(
    Effect.flatMap((file) => Effect.promise(() => body(file))),
    Effect.scoped,
    Effect.runPromise
  )
const native = loadNative()
/** The reference, and the native backend by each instruction set that this machine runs. */
const queues = (): ReadonlyArray<Queue> => [
  new ReferenceQueue([1 << 23]),
  ...native.info().isas.map((isa) => new CpuQueue(native, [1 << 23], cpuLimits(native.info(), 2), { threads: 2, isa }))
]
const quantised = async (codec: ReturnType<typeof fourBitCodec>, source: SourceTensor, out: DType = "f32") => {
  const [reference, ...others] = await Promise.all(queues().map((queue) => quantisedOn(queue, codec, source, out)))
  for (const native of others) assert.deepEqual(native, reference, `${source.name}: native and reference bits`)
  return reference!
}
const quantisedOn = async (queue: Queue, codec: ReturnType<typeof fourBitCodec>, source: SourceTensor, out: DType) => {
  const scope = new Scope(queue, "weights")
  const weight = codec.encode(source, scope, "w")
  const all = scope.tensor([weight.outFeatures, weight.inFeatures], "W", out)
  weight.dequantizeRows(all, 0)
  const storage = await Promise.all(weight.storage.map((t) => queue.readBytes(t)))
  const dequantized = await queue.readBytes(all)
  assert.equal(
    weight.bytes,
    storage.reduce((n, s) => n + s.byteLength, 0)
  )
  await queue.close()
  return { storage, dequantized }
}

test("a block size follows from the sizes of codes and scales", () => {
  for (const n of [1, 31, 64, 65, 4096, 28679, 12288]) {
    for (const size of blockSizes) {
      const count = Math.ceil(n / size)
      assert.equal(Math.ceil(n / blockSizeOf(n, count)!), count)
      if (count > 1) assert.equal(blockSizeOf(n, count), size)
    }
  }
})

for (const [name, scales, error] of [
  ["plain scales", plainScales, 0.167],
  ["double quantization", doubleQuant, 0.18]
] as const) {
  for (const codebook of [nf4, fp4]) {
    for (const isa of native.info().isas) {
      const limits = cpuLimits(native.info(), 2)
      const open = (bytes: ReadonlyArray<number>) => new CpuQueue(native, bytes, limits, { threads: 2, isa })
      const one = { name: `${codebook.name}, ${name}`, codec: fourBitCodec(codebook, scales, 64), error }
      testWeight(
        `cpu ${isa}`,
        { limits, open },
        {
          ...one,
          shapes: [
            [1, 1],
            [5, 7],
            [33, 64],
            [16, 130],
            [70, 192]
          ]
        }
      )
    }
  }
}

if (existsSync(golden)) {
  test("NF4 and FP4, every block size, odd shapes, plain and double-quantised scales", () =>
    onFile("codecs.safetensors", async (file) => {
      let cases = 0
      let checked = 0
      for (const name of file.tensors.keys()) {
        const found = /^(\d+)x(\d+)\.(nf4|fp4)\.b(\d+)(\.dq)?(?:\.(bfloat16|float16))?\.packed$/.exec(name)
        if (found === null) continue
        const [, rows, columns, kind, block, dq, rounded] = found
        const base = name.slice(0, -".packed".length)
        const input = `${rows}x${columns}.input`
        const dtype = rounded === "bfloat16" ? "bf16" : rounded === "float16" ? "f16" : "f32"
        const values = floats(file, input)
        const source = {
          name: input,
          shape: [Number(rows), Number(columns)],
          dtype: dtype as DType,
          read: () => narrow(values, dtype)
        }
        const scales: ScaleFormat = dq === undefined ? plainScales : doubleQuant
        const codec = fourBitCodec(kind === "nf4" ? nf4 : fp4, scales, Number(block) as BlockSize)
        const { storage, dequantized: exact } = await quantised(
          codec,
          source,
          dtype === "f16" ? "f32" : (dtype as DType)
        )
        const dequantized = dtype === "f16" ? narrow(widen(exact, "f32"), "f16") : exact
        assert.deepEqual(storage[0], bytes(file, name), `${base} codes`)
        assert.deepEqual(storage[1], bytes(file, `${base}.absmax`), `${base} absmax`)
        // Where in is no multiple of the block and blocks are whole, bitsandbytes 0.50 on AVX-512, which made these vectors,
        // counts a row's scales from its own start; its codes and scales are right, and its AVX2 path agrees with ours.
        if (!base.startsWith("128x96")) {
          // FP4's code 8 is 0 in one of bitsandbytes' paths and -0 in another: as numbers they are equal.
          const [ours, theirs] = [dequantized, bytes(file, `${base}.dequantized`)].map((b) => widen(b, dtype as DType))
          assert.ok(ours!.length === theirs!.length && ours!.every((v, i) => v === theirs![i]), `${base} dequantised`)
          checked++
        }
        cases++
      }
      assert.deepEqual([cases, checked], [136, 102])
    }))

  for (const [set, dtype] of [
    ["plain", "f32"],
    ["edge", "f32"],
    ["bf16", "bf16"]
  ] as const) {
    test(`the ${set} vectors, doubly quantised`, () =>
      onFile("nf4-vectors.safetensors", async (file) => {
        const name = set === "edge" ? "edge.dq.input" : `${set}.input`
        const tensor = file.tensors.get(name)!
        const source = { name, shape: tensor.shape, dtype, read: tensor.read }
        const { storage, dequantized } = await quantised(fourBitCodec(nf4, doubleQuant, 64), source, dtype)
        assert.deepEqual(storage[0], bytes(file, `${set}.dq.packed`), "codes")
        assert.deepEqual(storage[1], bytes(file, `${set}.dq.absmax_codes`), "scale codes")
        assert.deepEqual(storage[2], bytes(file, `${set}.dq.nested_absmax`), "nested scales")
        assert.deepEqual(storage[3], bytes(file, `${set}.dq.offset`), "offset")
        assert.deepEqual(dequantized, bytes(file, `${set}.dq.dequantized`), "dequantised")
      }))
  }
  test("the edge vectors with plain scales: denormals, thresholds, zeros, infinities near", () =>
    onFile("nf4-vectors.safetensors", async (file) => {
      const tensor = file.tensors.get("edge.input")!
      const source = { name: "edge", shape: tensor.shape, dtype: "f32" as const, read: tensor.read }
      const { storage, dequantized } = await quantised(fourBitCodec(nf4, plainScales, 64), source)
      assert.deepEqual(storage[0], bytes(file, "edge.nf4.packed"))
      assert.deepEqual(storage[1], bytes(file, "edge.nf4.absmax"))
      assert.deepEqual(dequantized, bytes(file, "edge.nf4.dequantized"))
    }))
}
