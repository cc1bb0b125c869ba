import assert from "node:assert/strict"
import test from "node:test"
import { bytesOf, type DType } from "../dtype.ts"
import { fromBf16, fromF16, narrow, toBf16, toF16, widen } from "./conversion.ts"

/** Every 16-bit pattern, and for each pair of neighbours the number halfway and those beside it. */
const roundsToNearestEven = (
  name: string,
  { toBits, fromBits, infinity }: { toBits: (v: number) => number; fromBits: (b: number) => number; infinity: number }
): void => {
  const around = (v: number): ReadonlyArray<number> => {
    const bits = new Uint32Array(new Float32Array([v]).buffer)[0]!
    return [...new Float32Array(new Uint32Array([bits - 1, bits + 1]).buffer)]
  }
  for (let bits = 0; bits < infinity; bits++) {
    const value = fromBits(bits)
    assert.equal(toBits(value), bits, `${name} ${bits.toString(16)} comes back`)
    assert.equal(toBits(-value), bits | 0x8000, `−${name} ${bits.toString(16)} comes back`)
    if (bits === infinity - 1) continue
    const next = fromBits(bits + 1)
    assert.ok(next > value)
    const half = Math.fround((value + next) / 2)
    assert.equal(half, (value + next) / 2, "f32 holds the middle")
    assert.equal(toBits(half), bits % 2 === 0 ? bits : bits + 1, `a tie above ${value}`)
    const [below, above] = around(half)
    assert.equal(toBits(below!), bits, `just below the tie above ${value}`)
    assert.equal(toBits(above!), bits + 1, `just above the tie above ${value}`)
    assert.equal(toBits(-half), (bits % 2 === 0 ? bits : bits + 1) | 0x8000)
  }
  assert.equal(toBits(Infinity), infinity)
  assert.equal(toBits(-Infinity), infinity | 0x8000)
  assert.equal(toBits(3.4e38), infinity === 0x7f80 ? 0x7f80 : infinity)
  for (let bits = infinity + 1; bits < 0x8000; bits++) {
    assert.ok(Number.isNaN(fromBits(bits)) && Number.isNaN(fromBits(bits | 0x8000)))
    assert.ok(Number.isNaN(fromBits(toBits(NaN))))
  }
}
test("bf16 is the upper half of an f32, rounded to nearest even, for every pattern", () =>
  roundsToNearestEven("bf16", { toBits: toBf16, fromBits: fromBf16, infinity: 0x7f80 }))
test("f16 is IEEE binary16, subnormals included, rounded to nearest even, for every pattern", () =>
  roundsToNearestEven("f16", { toBits: toF16, fromBits: fromF16, infinity: 0x7c00 }))
test("the largest numbers round up to infinity where half a step is passed", () => {
  assert.equal(toF16(65_519.99), 0x7bff)
  assert.equal(toF16(65_520), 0x7c00)
  assert.equal(toF16(2 ** -25), 0)
  assert.equal(toF16(2 ** -25 * 1.0001), 1)
  assert.equal(toBf16(3.3961775e38), 0x7f80)
  assert.equal(toBf16(3.3895313e38), 0x7f7f)
})
test("a NaN with a payload in its lower half only stays a NaN", () => {
  const nan = new Float32Array(new Uint32Array([0x7f800001]).buffer)[0]!
  assert.ok(Number.isNaN(fromBf16(toBf16(nan))))
  assert.ok(Number.isNaN(fromF16(toF16(nan))))
})
test("narrow and widen are inverse for what a dtype holds, little-endian, at any offset", () => {
  const values: Readonly<Record<DType, ReadonlyArray<number>>> = {
    f32: [0, -1.5, 2 ** -140, Infinity],
    bf16: [0, -1.5, 2 ** 100, Infinity],
    f16: [0, -1.5, 65_504, 2 ** -24],
    i32: [0, -(2 ** 31), 2 ** 24, 7],
    i8: [0, -128, 127, 7],
    u8: [0, 255, 128, 7]
  }
  for (const dtype of Object.keys(values) as ReadonlyArray<DType>) {
    const bytes = narrow(values[dtype], dtype)
    assert.equal(bytes.byteLength, 4 * bytesOf[dtype])
    const shifted = new Uint8Array(bytes.byteLength + 1)
    shifted.set(bytes, 1)
    assert.deepEqual([...widen(shifted.subarray(1), dtype)], [...values[dtype]], dtype)
  }
  assert.deepEqual([...narrow([1], "f32")], [0, 0, 0x80, 0x3f])
  assert.deepEqual([...narrow([1], "bf16")], [0x80, 0x3f])
  assert.deepEqual([...narrow([1], "f16")], [0, 0x3c])
})
