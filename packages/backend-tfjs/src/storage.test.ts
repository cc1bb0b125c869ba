/** Bytes three to a float: every byte, no number above 2^24. */
import assert from "node:assert/strict"
import test from "node:test"
import { type DType, narrow } from "@graft/core"
import { heldBytes, heldSize, hold, release } from "./storage.ts"

test("bytes come back from floats whose integers are exact, whatever their count", () => {
  for (const n of [0, 1, 2, 3, 256, 257]) {
    const bytes = Uint8Array.from({ length: n }, (_, i) => (n < 4 ? 255 : 255 - i))
    const held = hold(bytes, "u8")
    assert.equal(held.length, heldSize(n, "u8"))
    assert.ok(held.every((v) => Number.isInteger(v) && v >= 0 && v < 2 ** 24))
    assert.deepEqual(release(held, n, "u8"), bytes)
    assert.deepEqual(release(held, n, "i8"), bytes)
  }
})
test("floats of 16 bits are f32 of the same value, integers stay integers", () => {
  for (const dtype of ["f32", "bf16", "f16", "i32"] as ReadonlyArray<DType>) {
    const bytes = narrow([0, 1, -2, 1000, -7], dtype)
    const held = hold(bytes, dtype)
    assert.deepEqual([...held], [0, 1, -2, 1000, -7])
    assert.deepEqual(release(held, 5, dtype), bytes)
    assert.equal(heldBytes(5, dtype), 20)
  }
})
