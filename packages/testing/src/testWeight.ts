/** A frozen weight of any codec: five methods of one operator, whatever W is stored as. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  type ActivationDType,
  type Codec,
  type DType,
  denseCodec,
  MetaQueue,
  type Queue,
  ReferenceQueue,
  Scope,
  type SourceTensor,
  sourceOf,
  type Tensor,
  type Weight,
  widen
} from "@graft/core"
import { arenasOf, type BackendUnderTest, hasDType, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertClose, assertSame, relativeDifference } from "./closeness.ts"
import { randomTensor, randomValues, tensorOf } from "./tensorOf.ts"
import { toleranceOf } from "./testKernels.ts"

export interface WeightCase {
  readonly name: string
  readonly codec: Codec
  /** The dtype of the file. */
  readonly source?: DType
  /** The source of a matrix, where random numbers of that dtype are not what the codec stores. */
  readonly make?: (out: number, inner: number) => SourceTensor
  /** What it is stored in; f32 unless said. */
  readonly stores?: ReadonlyArray<DType>
  /** Largest error of a stored number, as a share of the largest of W. */
  readonly error: number
  /** W [out, in]: odd ones unless a codec has its own limits. */
  readonly shapes?: ReadonlyArray<readonly [out: number, inner: number]>
}
const SHAPES: ReadonlyArray<readonly [number, number]> = [
  [1, 1],
  [5, 7],
  [33, 64],
  [16, 130]
]
const ROWS = 6

/** x [rows, in] Wᵀ, in double precision. */
const product = (x: Float32Array, w: Float32Array, out: number, inner: number): Float32Array => {
  const y = new Float32Array((x.length / inner) * out)
  for (let t = 0; t * inner < x.length; t++) {
    for (let o = 0; o < out; o++) {
      let sum = 0
      for (let i = 0; i < inner; i++) sum += x[t * inner + i]! * w[o * inner + i]!
      y[t * out + o] = sum
    }
  }
  return y
}
/** W [out, in] → Wᵀ [in, out] */
const transposed = (w: Float32Array, out: number, inner: number): Float32Array =>
  Float32Array.from({ length: out * inner }, (_, i) => w[(i % out) * inner + Math.floor(i / out)]!)

const makeSource = ({ make, source = "f32" }: WeightCase, out: number, inner: number): SourceTensor =>
  make?.(out, inner) ?? sourceOf("w", [out, inner], () => randomValues(out * inner, 31), source)
const encode = (one: WeightCase, scope: Scope, out: number, inner: number): Weight =>
  one.codec.encode(makeSource(one, out, inner), scope, "model.w")
/** A source that only a plan may see. */
const unreadable = (source: SourceTensor): SourceTensor => ({
  ...source,
  read: () => assert.fail("the plan read a source"),
  ...(source.blocks === undefined ? {} : { blocks: { ...source.blocks, source: unreadable(source.blocks.source) } })
})
const dequantised = (queue: Queue, weight: Weight): Promise<Float32Array> => {
  using scope = new Scope(queue, "activations")
  const all = scope.tensor([weight.outFeatures, weight.inFeatures], "W")
  weight.dequantizeRows(all, 0)
  return queue.read(all)
}

export const testWeight = (name: string, backend: BackendUnderTest, one: WeightCase): void => {
  const { codec, error, shapes = SHAPES } = one
  if (![one.source ?? "f32", ...(one.stores ?? [])].every((dtype) => hasDType(backend, dtype))) return
  const check = (
    title: string,
    body: (queue: Queue, scope: Scope, out: number, inner: number) => Promise<void>
  ): void => {
    test(`${name}: ${one.name}: ${title}`, async () => {
      for (const [out, inner] of shapes) await onDevice(backend, (queue, scope) => body(queue, scope, out, inner))
    })
  }

  check("W is what was stored, the same on the reference", async (queue, scope, out, inner) => {
    const w = await dequantised(queue, encode(one, scope, out, inner))
    const { read, dtype } = makeSource(one, out, inner)
    const stored = one.make === undefined ? randomValues(out * inner, 31) : widen(read(), dtype)
    const apart = relativeDifference(w, stored)
    assert.ok(apart <= error, `[${out}, ${inner}] is stored with an error of ${apart}, allowed ${error}`)
    const reference = new ReferenceQueue(arenasOf(backend.limits, 4 * MiB), { limits: backend.limits })
    assertClose(w, await dequantised(reference, encode(one, new Scope(reference, "weights"), out, inner)), 1e-6, "W")
    await reference.close()
  })
  check("rows, gathered rows and norms are those of W", async (queue, scope, out, inner) => {
    const weight = encode(one, scope, out, inner)
    const w = await dequantised(queue, weight)
    const count = Math.ceil(out / 3)
    for (const first of new Set([0, Math.floor(out / 2), out - count])) {
      if (first + count > out) continue
      const rows = scope.tensor([count, inner], "rows")
      weight.dequantizeRows(rows, first)
      assertSame(await queue.read(rows), w.slice(first * inner, (first + count) * inner), `${count} rows from ${first}`)
    }
    const ids = [out - 1, 0, out >> 1, 0]
    const gathered = scope.tensor([ids.length, inner], "gathered")
    weight.gatherRows(gathered, tensorOf(scope, "ids", [ids.length], ids, "i32"))
    const wanted = ids.flatMap((id) => [...w.slice(id * inner, (id + 1) * inner)])
    assertSame(await queue.read(gathered), wanted, "gathered rows")
    const norms = scope.tensor([out], "norms")
    weight.rowNormsSquared(norms)
    const squares = Array.from({ length: out }, (_, o) =>
      w.slice(o * inner, (o + 1) * inner).reduce((s, v) => s + v * v, 0)
    )
    assertClose(await queue.read(norms), squares, 1e-5, "norms")
    const beyond = scope.tensor([count, inner], "beyond")
    assert.throws(() => weight.dequantizeRows(beyond, out), TypeError)
  })
  for (const dtype of ["f32", "bf16"] as ReadonlyArray<ActivationDType>) {
    if (!hasDType(backend, dtype)) continue
    check(`apply and applyTransposed multiply by W, activations ${dtype}`, async (queue, scope, out, inner) => {
      const weight = encode(one, scope, out, inner)
      const w = await dequantised(queue, weight)
      const tolerance = toleranceOf(backend, [dtype])
      for (const back of [false, true]) {
        const [from, to] = back ? [out, inner] : [inner, out]
        const matrix = back ? transposed(w, out, inner) : w
        const call = (...args: Parameters<Weight["apply"]>) =>
          back ? weight.applyTransposed(...args) : weight.apply(...args)
        const x = randomTensor(scope, "x", [ROWS, from], 2, dtype)
        const given = await queue.read(x) // as it was rounded
        const wanted = product(given, matrix, to, from)
        const y = scope.tensor([ROWS, to], "y", dtype)
        call(y, x)
        assertClose(await queue.read(y), wanted, tolerance, "the whole")

        const before = randomTensor(scope, "before", [ROWS + 2, to], 4, dtype)
        const expected = await queue.read(before)
        const [xRow, yRow, rows] = [2, 3, ROWS - 3]
        call(before, x, { accumulate: true, xRow, yRow, rows })
        for (let i = 0; i < rows * to; i++) expected[yRow * to + i]! += wanted[xRow * to + i]!
        assertClose(await queue.read(before), expected, tolerance, "a window, added")
        call(before, x, { xRow: 0, yRow, rows })
        for (let i = 0; i < rows * to; i++) expected[yRow * to + i] = wanted[i]!
        assertClose(await queue.read(before), expected, tolerance, "a window, overwritten")
        call(before, x, { rows: 0, yRow: 1 })
        assertClose(await queue.read(before), expected, tolerance, "an empty window")
        assert.throws(() => call(y, x, { xRow: 1 }), TypeError, "a window beyond x")
        assert.throws(() => call(y, before), TypeError, "x of another width or length")
      }
    })
    check(`a low-rank tail is part of the product, activations ${dtype}`, async (queue, scope, out, inner) => {
      const weight = encode(one, scope, out, inner)
      const w = await dequantised(queue, weight)
      const [rank, scale] = [3, -1.5]
      for (const back of [false, true]) {
        const [from, to] = back ? [out, inner] : [inner, out]
        const factor = randomTensor(scope, "factor", back ? [rank, to] : [to, rank], 5)
        const right = await queue.read(factor)
        const [x, h] = [
          randomTensor(scope, "x", [ROWS, from], 2, dtype),
          randomTensor(scope, "h", [ROWS, rank], 3, dtype)
        ]
        const wanted = product(await queue.read(x), back ? transposed(w, out, inner) : w, to, from)
        const hidden = await queue.read(h)
        const share = product(hidden, back ? transposed(right, rank, to) : right, to, rank)
        for (const [i, v] of share.entries()) wanted[i]! += scale * v
        const call = (...args: Parameters<Weight["apply"]>) =>
          back ? weight.applyTransposed(...args) : weight.apply(...args)
        const y = scope.tensor([ROWS, to], "y", dtype)
        call(y, x, { tail: { h, factor, scale } })
        const tolerance = toleranceOf(backend, [dtype])
        assertClose(await queue.read(y), wanted, tolerance, "h by rows")

        const [hRow, xRow, rows] = [2, 1, ROWS - 2]
        const columns = Array.from(
          { length: rank * rows },
          (_, i) => hidden[(xRow + (i % rows)) * rank + Math.floor(i / rows)]!
        )
        const stacked = [...new Array<number>(hRow * rows).fill(NaN), ...columns]
        const ht = tensorOf(scope, "hᵀ", [hRow + rank, rows], stacked, dtype)
        call(y, x, { accumulate: true, xRow, yRow: xRow, rows, tail: { h: ht, hRow, transposed: true, factor, scale } })
        for (let i = xRow * to; i < (xRow + rows) * to; i++) wanted[i]! *= 2
        assertClose(await queue.read(y), wanted, tolerance, "rows of hᵀ, added within more")
        const short = { h: ht, hRow: hRow + 1, transposed: true, factor, scale }
        assert.throws(() => call(y, x, { rows, tail: short }), TypeError, "h without enough rows")
        assert.throws(() => call(y, x, { tail: { h, factor: h } }), TypeError, "a factor of another width")
      }
    })
  }
  check("nothing but its storage stays, and a plan reads no source", async (queue, scope, out, inner) => {
    const weight = encode(one, scope, out, inner)
    assert.equal(
      weight.bytes,
      weight.storage.reduce((n, t) => n + t.bytes, 0)
    )
    assert.deepEqual([...scope.owned], [...weight.storage], "what encode left in the scope")
    const { alignment, heldBytes } = queue.limits
    const held = (t: Tensor) => heldBytes?.(t.size, t.dtype) ?? t.bytes
    assert.equal(
      queue.allocator.liveBytes,
      weight.storage.reduce((n, t) => n + Math.max(1, Math.ceil(held(t) / alignment)) * alignment, 0)
    )
    assert.deepEqual([weight.outFeatures, weight.inFeatures, weight.codec], [out, inner, codec.name])
    const meta = new MetaQueue(backend.limits)
    codec.encode(unreadable(makeSource(one, out, inner)), new Scope(meta, "weights"), "model.w")
    assert.deepEqual(queue.allocator.peaks, meta.plan.arenaBytes)
    assert.throws(
      () =>
        codec.encode(
          sourceOf("flat", [6], () => [1, 2, 3, 4, 5, 6]),
          scope,
          "model.norm"
        ),
      /model\.norm/,
      "a source that is no matrix"
    )
  })
}

/** Dense weights in each dtype, kept and converted. */
export const denseWeights: ReadonlyArray<WeightCase> = [
  { name: "dense f32", codec: denseCodec(), error: 0 },
  { name: "dense bf16 as in the file", codec: denseCodec(), source: "bf16", error: 2 ** -8 },
  { name: "dense f16 as in the file", codec: denseCodec(), source: "f16", error: 2 ** -11 },
  { name: "dense bf16 from f32", codec: denseCodec("bf16"), stores: ["bf16"], error: 2 ** -8 },
  { name: "dense f32 from f16", codec: denseCodec("f32"), source: "f16", error: 2 ** -11 }
]
