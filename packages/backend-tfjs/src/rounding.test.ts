/** bf16 by float arithmetic: every significand of an f32, and the ends of the range. */
import assert from "node:assert/strict"
import test from "node:test"
import { fromBf16, toBf16 } from "@graft/core"
import * as tf from "@tensorflow/tfjs-core"
import "@tensorflow/tfjs-backend-wasm"
import { roundToBf16 } from "./rounding.ts"
import { deviceOf } from "./TensorFlow.ts"

/** The first value that is rounded otherwise than core does. */
const firstWrong = async (values: Float32Array): Promise<number | undefined> => {
  await tf.setBackend("wasm")
  await tf.ready()
  const device = deviceOf(tf, "wasm")
  const x = device.tensor(values, [values.length], "float32")
  const y = roundToBf16(device, x)
  const got = await y.data()
  for (const t of [x, y]) t.dispose()
  return values.find((value, i) => !Object.is(got[i]! + 0, fromBf16(toBf16(value)) + 0)) // −0 is 0
}

test("every significand is rounded to nearest, ties to even", async () => {
  const all = new Float32Array(Uint32Array.from({ length: 1 << 23 }, (_, i) => 0x3f800000 + i).buffer)
  assert.equal(await firstWrong(all), undefined)
})
test("every exponent, both signs, infinities, NaN and what rounds to infinity", async () => {
  const bits: Array<number> = []
  for (let exponent = 1; exponent <= 255; exponent++) {
    for (const rest of [0, 0x7fff, 0x8000, 0x8001, 0x18000, 0x7fffff, 0x7f8000, 0x123456])
      for (const sign of [0, 0x80000000]) bits.push((sign | (exponent << 23) | (exponent === 255 ? 0 : rest)) >>> 0)
  }
  bits.push(0, 0x80000000, 0x7fc00000)
  assert.equal(await firstWrong(new Float32Array(Uint32Array.from(bits).buffer)), undefined)
})
