/** 4-bit checkpoints: every layout that bitsandbytes writes is taken as it lies, and what contradicts itself is refused. */
import assert from "node:assert/strict"
import { test } from "node:test"
import {
  type DType,
  narrow,
  ReferenceQueue,
  Scope,
  type SourceTensor,
  sourceOf,
  type TensorFile,
  widen
} from "@graft/core"
import { DoubleQuantError, doubleQuant } from "@graft/double-quant"
import {
  FourBitError,
  type FourBitFormat,
  fourBitCodec,
  fp4,
  nf4,
  plainScales,
  quantizeTensor,
  torchNames
} from "@graft/nf4-quant"
import { Effect } from "effect"

const SHAPE = [24, 96] as const
const values = (): Float32Array =>
  Float32Array.from({ length: SHAPE[0] * SHAPE[1] }, (_, i) => (i < 64 ? 0 : Math.sin(i * 1.7) * Math.cos(i / 91)))
const queueOf = () => new ReferenceQueue([1 << 20])
const fileOf = (tensors: ReadonlyArray<SourceTensor>): TensorFile => {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  return { names: [...byName.keys()], get: (name) => byName.get(name) }
}
/** What `graft quantize` would write for the weight `w`. */
const saved = async (format: FourBitFormat, dtype: DType = "f32"): Promise<ReadonlyArray<SourceTensor>> => {
  const queue = queueOf()
  const source = sourceOf("w.weight", SHAPE, values, dtype)
  const { tensors } = await Effect.runPromise(quantizeTensor(queue, source, "w", format))
  await queue.close()
  return tensors.map((tensor) => {
    const parts = tensor.read() as Uint8Array | ReadonlyArray<Uint8Array> // quantizeTensor gives nothing to wait for
    const bytes = parts instanceof Uint8Array ? parts : new Uint8Array(parts.flatMap((part) => [...part]))
    return { name: tensor.name, shape: tensor.shape, dtype: tensor.dtype as DType, read: () => bytes } // as core names it
  })
}
const read = async (queue: ReferenceQueue, weight: ReturnType<ReturnType<typeof fourBitCodec>["encode"]>) => {
  using scope = new Scope(queue, "activations")
  const all = scope.tensor(SHAPE, "W")
  weight.dequantizeRows(all, 0)
  const storage = await Promise.all(weight.storage.map((t) => queue.readBytes(t)))
  return [...storage, await queue.readBytes(all)]
}
/** The same bytes as another quant_storage. */
const viewedAs = (tensors: ReadonlyArray<SourceTensor>, dtype: DType, width: number) =>
  tensors.map((t) => (t.name === "w.weight" ? { ...t, dtype, shape: [t.shape[0]! / width, 1] } : t))

for (const codebook of [nf4, fp4]) {
  for (const scales of [plainScales, doubleQuant]) {
    test(`${codebook.name}, ${scales.name} scales: every dtype and quant_storage is taken as it lies`, async () => {
      for (const dtype of ["f32", "bf16", "f16"] as const) {
        const format = { codebook, scales, blockSize: 64 } as const
        const tensors = await saved(format, dtype)
        const queue = queueOf()
        const codec = fourBitCodec(codebook, scales, 64)
        const scope = new Scope(queue, "weights")
        const source = sourceOf("w.weight", SHAPE, values, dtype)
        const wanted = await read(queue, codec.encode(source, scope, "w"))
        const state = new TextDecoder().decode(tensors.at(-1)!.read())
        assert.match(state, new RegExp(`"dtype": "${torchNames[dtype]}", "shape": \\[24, 96\\]`))
        assert.equal(state.includes("nested_offset"), scales === doubleQuant)
        for (const [storage, width] of [
          ["u8", 1],
          ["i8", 1],
          ["f16", 2],
          ["bf16", 2],
          ["f32", 4]
        ] as const) {
          // The code book may be left out: its name says it.
          for (const left of [tensors, tensors.filter((t) => t.name !== "w.weight.quant_map")]) {
            const found = codec.adopt!(fileOf(viewedAs(left, storage, width)), "w", scope)!
            assert.deepEqual(await read(queue, found), wanted, `${dtype} as ${storage}`)
          }
        }
        assert.equal(codec.adopt!(fileOf([]), "w", scope), undefined)
        // A block of zeros: its scale is exact, and so are its values where its scale is kept in f32.
        const zeros = widen(wanted.at(-1)!, "f32").slice(0, 64)
        assert.ok(zeros.every((value) => value === 0))
        if (scales === plainScales) assert.equal(widen(wanted[1]!, "f32")[0], 0)
        await queue.close()
      }
    })
  }
}

const encoder = new TextEncoder()
type Tensors = ReadonlyArray<SourceTensor>
const without = (name: string) => (all: Tensors) => all.filter((t) => t.name !== name)
const changed = (name: string, change: Partial<SourceTensor>) => (all: Tensors) =>
  all.map((t) => (t.name === name ? { ...t, ...change } : t))
const STATE = "w.weight.quant_state.bitsandbytes__nf4"
const state = (change: (text: string) => string) => (all: Tensors) =>
  all.map((t) => {
    if (t.name !== STATE) return t
    const bytes = encoder.encode(change(new TextDecoder().decode(t.read())))
    return { ...t, shape: [bytes.byteLength], read: () => bytes }
  })
const bytes = (values: ArrayLike<number>) => () => narrow(values, "f32")

test("a checkpoint that contradicts itself is a typed error, before memory is taken", async () => {
  const nested = await saved({ codebook: nf4, scales: doubleQuant, blockSize: 64 })
  const plain = await saved({ codebook: nf4, scales: plainScales, blockSize: 64 })
  const cases: ReadonlyArray<readonly [string, Tensors, (all: Tensors) => Tensors, RegExp]> = [
    ["no weight", nested, without("w.weight"), /w\.weight: is missing beside its quant_state/],
    ["a weight cut short", nested, changed("w.weight", { shape: [1151, 1] }), /has 1151 bytes, .* takes 1152/],
    ["too wide a view", nested, changed("w.weight", { dtype: "f32" }), /has 4608 bytes, .* takes 1152/],
    ["another shape", nested, state((s) => s.replace("[24, 96]", "[24, 98]")), /has 1152 bytes, .* takes 1176/],
    ["no matrix", nested, state((s) => s.replace("[24, 96]", "[2304]")), /has the shape \[2304\]/],
    ["negative", nested, state((s) => s.replace("[24, 96]", "[-24, -96]")), /has the shape \[-24,-96\]/],
    ["enormous", nested, state((s) => s.replace("[24, 96]", "[9007199254740991, 96]")), /has the shape/],
    ["block size", nested, state((s) => s.replace('"blocksize": 64', '"blocksize": 48')), /blocks of 48, legal are 32/],
    [
      "another block",
      nested,
      state((s) => s.replace('"blocksize": 64', '"blocksize": 128')),
      /absmax is u8 \[36\], wanted u8 \[18\]/
    ],
    ["unknown type", nested, state((s) => s.replace('"nf4"', '"af4"')), /its quant_type is af4; its name says nf4/],
    ["no JSON", nested, state((s) => s.slice(0, -3)), /is no quant_state/],
    ["no block size", nested, state((s) => s.replace('"blocksize": 64, ', "")), /is no quant_state: .*blocksize/s],
    ["not UTF-8", nested, changed(STATE, { read: () => Uint8Array.of(0xff, 0xfe) }), /is no quant_state/],
    ["a state of numbers", nested, changed(STATE, { dtype: "f32" }), /wanted the bytes of a JSON text/],
    ["a huge state", nested, changed(STATE, { shape: [1 << 30] }), /wanted the bytes of a JSON text/],
    ["two states", nested, (all) => [...all, { ...all.at(-1)!, name: STATE.replace("nf4", "fp4") }], /one quant_state/],
    ["another table", nested, changed("w.weight.quant_map", { read: bytes(fp4.values) }), /is not the table of nf4/],
    ["no scales", nested, without("w.weight.absmax"), /no absmax beside its nested_absmax/],
    ["no plain scales", plain, without("w.weight.absmax"), /absmax: is missing, wanted f32 \[36\]/],
    ["fewer plain scales", plain, changed("w.weight.absmax", { shape: [35] }), /is f32 \[35\], wanted f32 \[36\]/],
    ["fewer scales", nested, changed("w.weight.absmax", { shape: [35] }), /absmax is u8 \[35\], wanted u8 \[36\]/],
    ["nested scales", nested, changed("w.weight.nested_absmax", { shape: [2] }), /nested_absmax is f32 \[2\], wanted/],
    ["no map", nested, without("w.weight.nested_quant_map"), /has no nested_quant_map/],
    [
      "another map",
      nested,
      changed("w.weight.nested_quant_map", { read: bytes(new Float32Array(256)) }),
      /signed dynamic map/
    ],
    ["no offset", nested, state((s) => s.replace(/, "nested_offset": [^}]*/, "")), /nested_offset is undefined/],
    [
      "an offset beyond f32",
      nested,
      state((s) => s.replace(/("nested_offset": )[^}]*/, "$11e39")),
      /nested_offset is 1e\+39/
    ],
    [
      "nested blocks",
      nested,
      state((s) => s.replace('"nested_blocksize": 256', '"nested_blocksize": 64')),
      /blocks of 64, wanted 256/
    ]
  ]
  for (const [what, tensors, change, wanted] of cases) {
    const queue = queueOf()
    const scope = new Scope(queue, "weights")
    const codec = fourBitCodec(nf4, tensors === plain ? plainScales : doubleQuant, 64)
    assert.throws(
      () => codec.adopt!(fileOf(change(tensors)), "w", scope),
      (e) => (e instanceof FourBitError || e instanceof DoubleQuantError) && wanted.test(e.message),
      what
    )
    assert.equal(queue.allocator.liveBytes, 0, what)
    await queue.close()
  }
})

test("a checkpoint of another codec or other scales than the stack's says what to provide", async () => {
  const tensors = await saved({ codebook: nf4, scales: doubleQuant, blockSize: 64 })
  const scope = new Scope(queueOf(), "weights")
  assert.throws(
    () => fourBitCodec(fp4, doubleQuant, 64).adopt!(fileOf(tensors), "w", scope),
    /is nf4 in the checkpoint, and the stack has fp4/
  )
  assert.throws(
    () => fourBitCodec(nf4, plainScales, 64).adopt!(fileOf(tensors), "w", scope),
    /has doubly quantised scales.*provide double quantization/
  )
  const plain = await saved({ codebook: nf4, scales: plainScales, blockSize: 64 })
  assert.throws(
    () => fourBitCodec(nf4, doubleQuant, 64).adopt!(fileOf(plain), "w", scope),
    /has plain scales.*provide plain scales/
  )
})

test("values that are not finite are named with their place", async () => {
  for (const [dtype, value] of [
    ["f32", Number.NaN],
    ["bf16", Infinity],
    ["f16", -Infinity]
  ] as const) {
    const source = sourceOf("w.weight", SHAPE, () => values().with(3 * 96 + 7, value), dtype)
    const format = { codebook: nf4, scales: doubleQuant, blockSize: 64 } as const
    const queue = queueOf()
    const failure = await Effect.runPromise(Effect.flip(quantizeTensor(queue, source, "model.w", format)))
    assert.equal(failure._tag, "FourBitError")
    assert.match(failure.message, /^model\.w: \[3, 7\] is (NaN|-?Infinity)/)
  }
})
