/** Packed codes, scales and dequantised values against bitsandbytes' own, bit for bit. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import {
  type DType,
  denseCodec,
  MetaQueue,
  narrow,
  oneArena,
  type Queue,
  ReferenceQueue,
  type ScaleFormat,
  Scope,
  type SourceTensor,
  sourceOf,
  widen
} from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import {
  type BlockSize,
  blockSizeOf,
  blockSizes,
  FourBitError,
  fourBitCodec,
  fp4,
  nf4,
  plainScales,
  smallerBlock
} from "@graft/nf4-quant"
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

/** The odd ones are no multiples of a block in either direction: blocks run across rows. */
const shapes = [
  [1, 1],
  [5, 7],
  [33, 64],
  [16, 130],
  [70, 192],
  [9, 352]
] as const
const limits = cpuLimits(native.info(), 2)
const backends = [
  ["reference", { limits: oneArena("reference"), open: (sizes: ReadonlyArray<number>) => new ReferenceQueue(sizes) }],
  ...native
    .info()
    .isas.map(
      (isa) =>
        [
          `cpu ${isa}`,
          { limits, open: (sizes: ReadonlyArray<number>) => new CpuQueue(native, sizes, limits, { threads: 2, isa }) }
        ] as const
    )
] as const
for (const [device, backend] of backends) {
  testWeight(device, backend, { name: "dense", codec: denseCodec(), error: 0, shapes })
  for (const codebook of [nf4, fp4]) {
    for (const [name, scales, error] of [
      ["plain scales", plainScales, 0.167],
      ["double quantization", doubleQuant, 0.18]
    ] as const) {
      const codec = fourBitCodec(codebook, scales, 64)
      testWeight(device, backend, { name: `${codebook.name}, ${name}`, codec, error, shapes })
    }
  }
}
test("frozen bytes are to the byte what the format says: 4.127 bits a parameter", () => {
  for (const [out, inner] of [...shapes, [1536, 576]] as const) {
    const n = out * inner
    const queue = new MetaQueue(oneArena("meta"))
    const bytes = (scales: ScaleFormat) =>
      fourBitCodec(nf4, scales, 64).encode(
        sourceOf("w", [out, inner], () => []),
        new Scope(queue, "weights"),
        "w"
      ).bytes
    const blocks = Math.ceil(n / 64)
    assert.equal(bytes(plainScales), Math.ceil(n / 2) + 4 * blocks)
    assert.equal(bytes(doubleQuant), Math.ceil(n / 2) + blocks + 4 * Math.ceil(blocks / 256) + 4)
  }
})

test("8,192 tokens in both directions, f32 and bf16: natively what the reference gives", {
  timeout: 120_000
}, async () => {
  const [tokens, out, inner] = [8192, 24, 96]
  const values = (n: number, seed: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(seed + 1.7 * i))
  const run = async (queue: Queue, dtype: "f32" | "bf16") => {
    const scope = new Scope(queue, "weights")
    const source = sourceOf("w", [out, inner], () => values(out * inner, 3))
    const weight = fourBitCodec(nf4, doubleQuant, 64).encode(source, scope, "w")
    const made = (shape: readonly [number, number], seed: number) => {
      const tensor = scope.tensor(shape, "x", dtype)
      queue.upload(tensor, () => values(shape[0] * shape[1], seed))
      return tensor
    }
    const [x, dy] = [made([tokens, inner], 1), made([tokens, out], 2)]
    const [y, dx] = [scope.tensor([tokens, out], "y"), scope.tensor([tokens, inner], "dx")]
    weight.apply(y, x)
    weight.applyTransposed(dx, dy)
    const read = await Promise.all([queue.read(y), queue.read(dx)])
    await queue.close()
    return read
  }
  const room = 1 << 24
  for (const dtype of ["f32", "bf16"] as const) {
    const wanted = await run(new ReferenceQueue([room]), dtype)
    for (const isa of native.info().isas) {
      const got = await run(new CpuQueue(native, [room], cpuLimits(native.info(), 2), { threads: 2, isa }), dtype)
      for (const [k, values] of got.entries()) {
        const largest = wanted[k]!.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
        const worst = values.reduce((m, v, i) => Math.max(m, Math.abs(v - wanted[k]![i]!)), 0)
        assert.ok(worst <= (dtype === "f32" ? 1e-5 : 1e-2) * largest, `${isa} ${dtype} ${k}: ${worst} of ${largest}`)
      }
    }
  }
})

test("rows that hold no whole blocks: other scales by the AVX-512 rule, smaller blocks, an error where none fits", async () => {
  const [out, inner] = [3, 96]
  const values = Array.from({ length: out * inner }, (_, i) => (1 + Math.floor(i / 64)) * Math.sin(i))
  const source = sourceOf("w", [out, inner], () => values)
  const flat = await quantised(fourBitCodec(nf4, plainScales, 64), source)
  const byRow = await quantised(fourBitCodec(nf4, plainScales, 64, "bitsandbytes-avx512"), source)
  assert.deepEqual(byRow.storage[0], flat.storage[0])
  const scales = widen(flat.storage[1]!, "f32")
  // Rows of 96 are three blocks of 32; the rule gives row r the scales r and r + 1, twice and once.
  assert.deepEqual(
    [...widen(byRow.storage[1]!, "f32")],
    [0, 0, 1, 1, 1, 2, 2, 2, 3].map((i) => scales[i])
  )
  for (const [what, [rows, columns], block] of [
    ["whole blocks", [3, 128], 64],
    ["a width that is no multiple of 16", [3, 98], 64],
    ["large blocks", [32, 96], 2048]
  ] as const) {
    const one = sourceOf("w", [rows, columns], () => Array.from({ length: rows * columns }, (_, i) => Math.cos(i)))
    const [a, b] = [
      await quantised(fourBitCodec(nf4, plainScales, block), one),
      await quantised(fourBitCodec(nf4, plainScales, block, "bitsandbytes-avx512"), one)
    ]
    assert.deepEqual(a, b, what)
  }
  const scope = new Scope(new ReferenceQueue([1 << 20]), "weights")
  const narrow = sourceOf("w", [2, 48], () => values.slice(0, 96))
  assert.throws(
    () => fourBitCodec(nf4, plainScales, 64, "bitsandbytes-avx512").encode(narrow, scope, "w"),
    (e) => e instanceof FourBitError && /its rows of 48 hold no whole blocks of 32/.test(e.message)
  )
})

if (existsSync(golden)) {
  test("NF4 and FP4, every block size, odd shapes, plain and double-quantised scales", { timeout: 60_000 }, () =>
    onFile("codecs.safetensors", async (file) => {
      let [cases, byRule] = [0, 0]
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
        const codebook = kind === "nf4" ? nf4 : fp4
        const size = Number(block) as BlockSize // the name's own
        const codec = fourBitCodec(codebook, scales, size)
        const out = dtype === "f16" ? "f32" : (dtype as DType)
        const { storage, dequantized: flat } = await quantised(codec, source, out)
        // Made by bitsandbytes 0.50 on a machine with AVX-512, see rowScales.ts of nf4-quant.
        const rule = "bitsandbytes-avx512"
        const other = smallerBlock(rule, base, Number(columns), size) !== undefined
        const exact = other
          ? (await quantised(fourBitCodec(codebook, scales, size, rule), source, out)).dequantized
          : flat
        if (other) byRule++
        const dequantized = dtype === "f16" ? narrow(widen(exact, "f32"), "f16") : exact
        assert.deepEqual(storage[0], bytes(file, name), `${base} codes`)
        assert.deepEqual(storage[1], bytes(file, `${base}.absmax`), `${base} absmax`)
        // FP4's code 8 is 0 in one of bitsandbytes' paths and -0 in another: as numbers they are equal.
        const [ours, theirs] = [dequantized, bytes(file, `${base}.dequantized`)].map((b) => widen(b, dtype as DType))
        assert.ok(ours!.length === theirs!.length && ours!.every((v, i) => v === theirs![i]), `${base} dequantised`)
        cases++
      }
      assert.deepEqual([cases, byRule], [136, 22])
    })
  )

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
