import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { memorySource, parseSafetensors } from "@graft/safetensors"
import { dequantizable, dequantize } from "./dequantize.ts"

const fixture = fileURLToPath(new URL("../fixtures/dequantized.safetensors", import.meta.url))
const file = parseSafetensors(memorySource(fixture, readFileSync(fixture)))
const bytesOf = (name: string): Uint8Array => file.tensors.get(name)!.read()

for (const type of dequantizable) {
  test(`${type} gives the bits of gguf-py, for scales of every kind`, () => {
    const want = new Float32Array(new Uint8Array(bytesOf(`${type}.values`)).buffer)
    const got = new Float32Array(want.length)
    dequantize(type, got, bytesOf(`${type}.blocks`))
    const wrong = want.findIndex((value, i) => !Object.is(value, got[i]))
    assert.equal(wrong, -1, `number ${wrong}: ${want[wrong]} became ${got[wrong]}`)
    assert.ok(want.some(Number.isNaN) && want.some((v) => Math.abs(v) === Infinity) && want.some((v) => v === 0))
  })
}

test("names what it cannot read", () => {
  assert.throws(
    () => dequantize("IQ2_XS", new Float32Array(256), new Uint8Array(74)),
    /IQ2_XS is none of Q8_0, Q4_0, Q4_1/
  )
  assert.throws(
    () => dequantize("Q8_0", new Float32Array(33), new Uint8Array(34)),
    /34 bytes of Q8_0 are not 33 numbers/
  )
  assert.throws(() => dequantize("constructor", new Float32Array(32), new Uint8Array(18)), RangeError)
})
