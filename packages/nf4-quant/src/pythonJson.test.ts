import assert from "node:assert/strict"
import { test } from "node:test"
import { pythonFloat, pythonJson } from "./pythonJson.ts"

test("floats are spelt as Python's repr spells them", () => {
  for (const [value, spelt] of [
    [0, "0.0"],
    [-0, "-0.0"],
    [6, "6.0"],
    [0.1, "0.1"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [1.5e-7, "1.5e-07"],
    [-0.05172767490148544, "-0.05172767490148544"],
    [123456.789, "123456.789"],
    [1e15, "1000000000000000.0"],
    [1e16, "1e+16"],
    [-1.25e22, "-1.25e+22"],
    [1e-308, "1e-308"]
  ] as const)
    assert.equal(pythonFloat(value), spelt)
})

test("one line with Python's spaces; only the named members are floats", () => {
  const state = { kind: "nf4", size: 64, shape: [2, 3], offset: 1 }
  assert.equal(pythonJson(state, new Set(["offset"])), '{"kind": "nf4", "size": 64, "shape": [2, 3], "offset": 1.0}')
})
