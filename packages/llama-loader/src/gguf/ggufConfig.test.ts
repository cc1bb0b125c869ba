/** What a family's GGUF says in keys and tensors of its own. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { type EncodedTensor, type EncodedValue, encodeGguf, parseGguf } from "@graft/gguf"
import { memorySource } from "@graft/safetensors"
import { ConfigError } from "../config/ConfigError.ts"
import { ggufConfig } from "./ggufConfig.ts"

const size = (value: number): EncodedValue => ({ type: "u32", value })
const number = (value: number): EncodedValue => ({ type: "f32", value })
/** A description of `architecture` without weights, with more keys. */
const described = (
  architecture: string,
  more: Readonly<Record<string, EncodedValue>> = {},
  tensors: ReadonlyArray<EncodedTensor> = []
) => {
  const own = {
    block_count: size(2),
    context_length: size(128),
    embedding_length: size(48),
    feed_forward_length: size(64),
    "attention.head_count": size(4),
    "attention.head_count_kv": size(2),
    "attention.key_length": size(16),
    "attention.value_length": size(16),
    "attention.layer_norm_rms_epsilon": number(1e-6),
    vocab_size: size(9),
    ...more
  }
  const keys = Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value] as const)
  const metadata = {
    "general.architecture": { type: "text", value: architecture } as const,
    ...Object.fromEntries(keys)
  }
  return ggufConfig(parseGguf(memorySource("x.gguf", encodeGguf(metadata, tensors))))
}
const floats = (name: string, values: ReadonlyArray<number>): EncodedTensor => ({
  name,
  shape: [values.length],
  type: 0,
  bytes: new Uint8Array(new Float32Array(values).buffer)
})

test("longrope's divisors are tensors", () => {
  const long = [1, 2, 3, 4, 5, 6, 7, 8]
  const tensors = [
    floats(
      "rope_factors_short.weight",
      long.map((f) => f / 2)
    ),
    floats("rope_factors_long.weight", long)
  ]
  const keys = { "rope.scaling.original_context_length": size(64) }
  const { ropeScaling } = described("phi3", keys, tensors)
  assert.deepEqual(ropeScaling, {
    type: "longrope",
    shortFactors: long.map((f) => f / 2),
    longFactors: long,
    originalMaxPositions: 64,
    attentionFactor: Math.sqrt(1 + Math.log(2) / Math.log(64))
  })
  const said = described("phi3", { ...keys, "rope.scaling.attn_factor": number(1.5) }, tensors).ropeScaling
  assert.ok(said.type === "longrope" && said.attentionFactor === 1.5)
  assert.throws(
    () => described("phi3", keys, [floats("rope_factors_short.weight", [1]), floats("rope_factors_long.weight", [1])]),
    (error) => error instanceof ConfigError && /1 divisors of frequencies, and a head of 16 has 8/.test(error.message)
  )
})

test("the largest Gemmas scale scores by another width, which only the count of layers says", () => {
  assert.equal(described("gemma2").attentionScale, 1 / 4)
  assert.equal(described("gemma2", { block_count: size(46) }).attentionScale, 1 / Math.sqrt(12))
  const window = { "attention.sliding_window": size(8) }
  assert.equal(described("gemma3", { ...window, block_count: size(62) }).attentionScale, 1 / Math.sqrt(12))
  assert.throws(() => described("gemma3"), /no gemma3\.attention\.sliding_window/)
})

test("windows, soft caps and a second theta", () => {
  const two = described("gemma2", { attn_logit_softcapping: number(20), "attention.sliding_window": size(32) })
  assert.deepEqual([two.attentionSoftCap, two.logitSoftCap, two.window], [20, 30, 32])
  assert.deepEqual(two.slidingLayers, [true, false])
  const three = described("gemma3", {
    "attention.sliding_window": size(8),
    "rope.freq_base": number(1e6),
    "rope.freq_base_swa": number(2e4),
    "rope.scaling.type": { type: "text", value: "linear" },
    "rope.scaling.factor": number(8)
  })
  assert.deepEqual([three.ropeTheta, three.localRopeTheta], [1e6, 2e4])
  assert.deepEqual(three.ropeScaling, { type: "linear", factor: 8 })
  assert.deepEqual(described("smollm3", { block_count: size(4) }).rotaryLayers, [true, true, true, false])
  assert.equal(described("phi3", { "attention.sliding_window": size(0) }).window, undefined)
})

test("what is not computed is named by its key", () => {
  for (const architecture of ["llama", "qwen2", "qwen3", "smollm3", "phi3", "gemma2"]) {
    const refuses = (more: Readonly<Record<string, EncodedValue>>, message: RegExp) =>
      assert.throws(
        () => described(architecture, more),
        (error) => error instanceof ConfigError && message.test(error.message)
      )
    refuses({ expert_count: size(8) }, /mixture of 8 experts/)
    refuses({ "rope.scaling.type": { type: "text", value: "yarn" }, "rope.scaling.factor": number(4) }, /"yarn"/)
    refuses({ "rope.dimension_count": size(8) }, /of which 8 are turned/)
  }
})
