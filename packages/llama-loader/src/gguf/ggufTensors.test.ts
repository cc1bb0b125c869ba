import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { widen } from "@graft/core"
import { encodeGguf, GgufError, parseGguf } from "@graft/gguf"
import { memorySource, parseSafetensors } from "@graft/safetensors"
import { llama } from "../architectures/llama.ts"
import { ggufConfig } from "./ggufConfig.ts"
import { ggufModule, huggingFaceName } from "./ggufNames.ts"
import { ggufTensors } from "./ggufTensors.ts"
import { rotaryOrder, undoRotaryOrder } from "./rotaryRows.ts"

const fixtures = fileURLToPath(new URL("../../../testing/fixtures/", import.meta.url))
const source = (name: string) => memorySource(name, readFileSync(fixtures + name))
const expected = parseSafetensors(source("tiny-gguf/expected.safetensors"))
const floats = (bytes: Uint8Array): Float32Array => new Float32Array(new Uint8Array(bytes).buffer)

for (const name of ["f16", "q8_0", "q4_0", "q4_1", "llama3-q8_0"]) {
  test(`${name}: numbers as gguf-py gives them, rows as Hugging Face has them`, () => {
    const file = parseGguf(source(`tiny-gguf/${name}.gguf`))
    const tensors = ggufTensors(file, ggufConfig(file))
    let compared = 0
    for (const key of expected.names) {
      const [, kind, tensor] = new RegExp(`^${name}\\.(gguf|hf)\\.(.+)$`).exec(key) ?? []
      // Where rows are permuted, the file's own order is not what is wanted.
      if (tensor === undefined || (kind === "gguf" && /attn_[qk]/.test(tensor))) continue
      const got = tensors.get(kind === "hf" ? tensor : huggingFaceName(llama, tensor)!)!
      assert.deepEqual(got.shape, expected.tensors.get(key)!.shape)
      assert.deepEqual(widen(got.read(), got.dtype), floats(expected.tensors.get(key)!.read()))
      compared++
    }
    assert.equal(compared, 3)
  })
}

test("the same weights from the folder and from its GGUF", () => {
  const folder = parseSafetensors(source("tiny-spm/model.safetensors"))
  const file = parseGguf(source("tiny-spm/model.gguf"))
  const tensors = ggufTensors(file, ggufConfig(file))
  assert.deepEqual([...tensors.names].sort(), [...folder.names].sort())
  for (const name of folder.names) {
    const [a, b] = [folder.get(name)!, tensors.get(name)!]
    assert.deepEqual(b.shape, a.shape)
    assert.deepEqual(widen(b.read(), b.dtype), widen(a.read(), a.dtype), name)
  }
})

test("names map for all of a Llama's tensors and nothing else", () => {
  assert.equal(huggingFaceName(llama, "token_embd.weight"), "model.embed_tokens.weight")
  assert.equal(huggingFaceName(llama, "output.weight"), "lm_head.weight")
  assert.equal(huggingFaceName(llama, "blk.12.ffn_gate.bias"), "model.layers.12.mlp.gate_proj.bias")
  assert.equal(huggingFaceName(llama, "blk.0.attn_norm.weight"), "model.layers.0.input_layernorm.weight")
  for (const gguf of ["token_embd", "output_norm", "blk.12.ffn_gate", "blk.0.attn_q"])
    assert.equal(ggufModule(llama, huggingFaceName(llama, `${gguf}.weight`)!.slice(0, -".weight".length)), gguf)
  for (const path of ["model.layers.0", "model.layers.x.mlp.up_proj", "blk.0.attn_q"])
    assert.equal(ggufModule(llama, path), undefined)
  for (const name of [
    "rope_freqs.weight",
    "blk.0.token_embd.weight",
    "attn_q.weight",
    "blk.x.attn_q.weight",
    "blk.0.ffn_gate_exps.weight",
    "blk.0.attn_q"
  ])
    assert.equal(huggingFaceName(llama, name), undefined)
})

test("names every format that cannot be read", () => {
  const tensor = (name: string, type: number, bytes: number) => ({
    name,
    type,
    shape: [1, 256],
    bytes: new Uint8Array(bytes)
  })
  const text = (value: string) => ({ type: "text" as const, value })
  const size = (value: number) => ({ type: "u32" as const, value })
  const bytes = encodeGguf(
    {
      "general.architecture": text("llama"),
      "llama.block_count": size(1),
      "llama.context_length": size(8),
      "llama.embedding_length": size(256),
      "llama.feed_forward_length": size(256),
      "llama.attention.head_count": size(1),
      "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
      "llama.vocab_size": size(1)
    },
    [
      tensor("blk.0.attn_q.weight", 16, 66),
      tensor("blk.0.attn_v.weight", 34, 54),
      tensor("blk.0.ffn_up.weight", 16, 66)
    ]
  )
  const file = parseGguf(memorySource("x", bytes))
  assert.throws(
    () => ggufTensors(file, ggufConfig(file)),
    (error) =>
      error instanceof GgufError &&
      /2 tensors as IQ2_XXS \(blk\.0\.attn_q\.weight, …\) and 1 tensors as TQ1_0/.test(error.message) &&
      /Graft reads F32, F16, BF16, Q8_0, Q4_0, Q4_1/.test(error.message)
  )
})

test("a head's rows go into llama.cpp's order and back", () => {
  const rows = Uint8Array.from({ length: 2 * 8 * 3 }, (_, i) => i)
  const theirs = rotaryOrder(rows, 16, 8)
  assert.deepEqual([...theirs.subarray(0, 9)], [0, 1, 2, 12, 13, 14, 3, 4, 5], "row 4 of 8 stands beside row 0")
  assert.deepEqual(undoRotaryOrder(theirs, 16, 8), rows)
})
