import assert from "node:assert/strict"
import { test } from "node:test"
import { withQuantizationConfig } from "./quantizationConfig.ts"

const options = { codebook: "nf4", doubleQuantization: true, computeDtype: "bfloat16", skippedModules: [] } as const

test("the config comes among its sorted neighbours, and nothing else of the text changes", () => {
  const text = '{\n  "a": [1, {"rms": 1e-05}],\n  "pad": "x, \\"y\\": {",\n  "rope_theta": 10000.0,\n  "z": null\n}\n'
  const made = withQuantizationConfig(text, options)
  const parsed = JSON.parse(made)
  assert.deepEqual(Object.keys(parsed), ["a", "pad", "quantization_config", "rope_theta", "z"])
  assert.ok(made.startsWith(text.slice(0, text.indexOf(',\n  "rope_theta"'))))
  assert.ok(made.endsWith(text.slice(text.indexOf('"rope_theta"'))))
  assert.match(made, /"llm_int8_threshold": 6\.0,/)
  const { bnb_4bit_compute_dtype, bnb_4bit_use_double_quant, llm_int8_skip_modules } = parsed.quantization_config
  assert.deepEqual([bnb_4bit_compute_dtype, bnb_4bit_use_double_quant, llm_int8_skip_modules], ["bfloat16", true, null])
})

test("first, last, alone; the dtype is replaced under the name that is there", () => {
  assert.deepEqual(Object.keys(JSON.parse(withQuantizationConfig('{"z": 1}', options))), ["quantization_config", "z"])
  assert.deepEqual(Object.keys(JSON.parse(withQuantizationConfig("{}", options))), ["quantization_config"])
  const as = (text: string) => JSON.parse(withQuantizationConfig(text, { ...options, dtype: "float16" }))
  assert.equal(as('{"torch_dtype": "float32", "z": 1}').torch_dtype, "float16")
  assert.equal(as('{"dtype": "float32"}').dtype, "float16")
  assert.equal(as('{"a": 1}').dtype, "float16")
})

test("what is no object, or is quantised already, is refused", () => {
  assert.throws(() => withQuantizationConfig("[]", options), SyntaxError)
  assert.throws(() => withQuantizationConfig("{,}", options), SyntaxError)
  assert.throws(() => withQuantizationConfig('{"quantization_config": {}}', options), RangeError)
})
