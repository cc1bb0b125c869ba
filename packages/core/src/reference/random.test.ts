import assert from "node:assert/strict"
import test from "node:test"
import { normals, philox, siteOf, toUnit, uniforms } from "./random.ts"

const draw = (key: readonly [number, number], counter: readonly [number, number, number, number]): string => {
  const out = new Uint32Array(4)
  philox(out, ...key, ...counter)
  return [...out].map((v) => v.toString(16).padStart(8, "0")).join(" ")
}

test("philox4x32-10 gives the known answers of Random123 (kat_vectors)", () => {
  assert.equal(draw([0, 0], [0, 0, 0, 0]), "6627e8d5 e169c58d bc57ac4c 9b00dbd8")
  const ones = 0xffffffff
  assert.equal(draw([ones, ones], [ones, ones, ones, ones]), "408f276d 41c83b0e a20bc7c6 6d5451fd")
  const digitsOfPi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344] as const
  assert.equal(draw([0xa4093822, 0x299f31d0], digitsOfPi), "d16cfe09 94fdcceb 5001e420 24126ea1")
})
test("a uniform is a multiple of 2^-24 below 1", () => {
  assert.equal(toUnit(0), 0)
  assert.equal(toUnit(0xffffffff), 1 - 2 ** -24)
  assert.equal(Math.fround(toUnit(0xffffffff)), toUnit(0xffffffff))
})
test("uniforms are the same for any count, and others for another seed or site", () => {
  const long = uniforms(1001, 5, 9)
  assert.deepEqual([...uniforms(10, 5, 9)], [...long.subarray(0, 10)])
  assert.ok(long.every((u) => u >= 0 && u < 1))
  assert.ok(Math.abs(long.reduce((a, b) => a + b) / 1001 - 0.5) < 0.03)
  for (const other of [uniforms(1001, 6, 9), uniforms(1001, 5, 10)]) {
    const correlation = other.reduce((sum, v, i) => sum + (v - 0.5) * (long[i]! - 0.5), 0) / 1001 / (1 / 12)
    assert.ok(Math.abs(correlation) < 0.1, `${correlation}`)
  }
})
test("normals have mean 0, variance 1 and tails", () => {
  const values = normals(20_001, 1, 2)
  const mean = values.reduce((a, b) => a + b) / values.length
  const variance = values.reduce((a, b) => a + b * b, 0) / values.length
  const beyondTwo = values.filter((v) => Math.abs(v) > 2).length / values.length
  assert.ok(Math.abs(mean) < 0.03 && Math.abs(variance - 1) < 0.05, `${mean} ${variance}`)
  assert.ok(Math.abs(beyondTwo - 0.0455) < 0.006, `${beyondTwo}`)
})
test("sites of different paths differ", () => {
  const paths = Array.from({ length: 500 }, (_, i) => `model.layers.${i}.self_attn.q_proj`)
  assert.equal(new Set(paths.map(siteOf)).size, 500)
  assert.equal(siteOf(""), 0x811c9dc5)
  assert.equal(siteOf("a"), 0xe40c292c) // FNV-1a's own test vector
})
