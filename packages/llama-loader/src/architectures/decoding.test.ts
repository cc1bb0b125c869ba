/** What a family's config.json may leave out, and what of it is refused before any weight is read. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { ConfigError, UnknownArchitecture } from "../config/ConfigError.ts"
import { decodeHuggingFace } from "../config/decodeHuggingFace.ts"
import { encodeHuggingFace } from "../config/encodeHuggingFace.ts"
import { architectures } from "./known.ts"

type Raw = Readonly<Record<string, unknown>>
const fixture = (family: string): Raw =>
  JSON.parse(
    readFileSync(fileURLToPath(new URL(`../../fixtures/architectures/${family}/config.json`, import.meta.url)), "utf8")
  ) as Raw // an object: the fixtures are
const decode = (family: string, change: Raw = {}) => decodeHuggingFace("config.json", { ...fixture(family), ...change })
const without = (family: string, ...keys: ReadonlyArray<string>) => {
  const raw = fixture(family)
  return decodeHuggingFace(
    "config.json",
    Object.fromEntries(Object.entries(raw).filter(([key]) => !keys.includes(key)))
  )
}
const refuses = (family: string, change: Raw, message: RegExp): void => {
  assert.throws(
    () => decode(family, change),
    (error) => error instanceof ConfigError && message.test(error.message) && error.path === "config.json",
    `${family} ${JSON.stringify(change)}`
  )
}

test("transformers' defaults where config.json is silent", () => {
  assert.equal(without("mistral", "sliding_window").window, 4096)
  assert.equal(decode("mistral", { sliding_window: null }).window, undefined)
  assert.equal(without("qwen3", "head_dim").headDim, 128)
  assert.equal(without("qwen3", "rms_norm_eps").rmsNormEpsilon, 1e-6)
  const smol = without("smollm3", "no_rope_layers", "rope_parameters", "tie_word_embeddings")
  assert.deepEqual(smol.rotaryLayers, [true, true, true, false])
  assert.deepEqual([smol.ropeTheta, smol.tieWordEmbeddings], [2_000_000, true])
  const two = without("gemma2", "attn_logit_softcapping", "final_logit_softcapping", "layer_types", "head_dim")
  assert.deepEqual([two.attentionSoftCap, two.logitSoftCap, two.headDim], [50, 30, 256])
  assert.deepEqual(two.slidingLayers, [true, false])
  assert.equal(two.embeddingScale, Math.sqrt(two.hiddenSize))
  const three = without("gemma3", "layer_types", "rope_parameters", "query_pre_attn_scalar")
  assert.deepEqual(three.slidingLayers, [true, true, true, true, true, false])
  assert.deepEqual([three.ropeTheta, three.localRopeTheta, three.attentionScale], [1_000_000, 10_000, 1 / 16])
})

test("version 4 says Gemma 3's frequencies in keys of their own", () => {
  const config = decode("gemma3", {
    rope_parameters: null,
    rope_theta: 5e5,
    rope_local_base_freq: 2e4,
    rope_scaling: { rope_type: "linear", factor: 8 },
    layer_types: null,
    sliding_window_pattern: 2
  })
  assert.deepEqual([config.ropeTheta, config.localRopeTheta], [5e5, 2e4])
  assert.deepEqual(config.ropeScaling, { type: "linear", factor: 8 })
  assert.deepEqual(config.slidingLayers, [true, false, true, false, true, false])
})

test("a window counts only where the family says so", () => {
  assert.equal(decode("qwen2", { sliding_window: 9, use_sliding_window: false }).window, undefined)
  const late = { sliding_window: 9, use_sliding_window: true, max_window_layers: 1, layer_types: null }
  assert.deepEqual(decode("qwen2", late).slidingLayers, [false, true])
  assert.equal(decode("qwen3", { ...late, max_window_layers: 0 }).slidingLayers, undefined, "all of them")
  assert.equal(decode("qwen3", { ...late, max_window_layers: 2 }).window, undefined, "none of them")
  assert.equal(decode("phi3", { sliding_window: null }).window, undefined)
})

test("longrope scales heads by the ratio of contexts, unless it says by how much", () => {
  const divisors = [1, 2, 3, 4]
  const rope = { type: "su", short_factor: divisors, long_factor: divisors }
  const change = { rope_parameters: null, rope_scaling: rope, original_max_position_embeddings: 64 }
  const { ropeScaling } = decode("phi3", change)
  assert.ok(ropeScaling.type === "longrope")
  assert.equal(ropeScaling.attentionFactor, Math.sqrt(1 + Math.log(4) / Math.log(64)))
  const said = decode("phi3", { ...change, rope_scaling: { ...rope, attention_factor: 1.5 } }).ropeScaling
  assert.ok(said.type === "longrope" && said.attentionFactor === 1.5)
})

test("soft caps are written as floats, which transformers 5 insists on", () => {
  const text = encodeHuggingFace("model", decode("gemma2", { attn_logit_softcapping: 50 }), "bfloat16")
  assert.match(text, /"attn_logit_softcapping": 50\.0,\n/)
  assert.match(text, /"final_logit_softcapping": 2\.0,\n/)
  assert.match(encodeHuggingFace("model", decode("gemma3"), "bfloat16"), /"final_logit_softcapping": null/)
})

test("what is not computed is named by its key", () => {
  for (const family of Object.keys(architectures).filter((name) => name !== "llama")) {
    refuses(family, { hidden_act: "relu", hidden_activation: "relu" }, /hidden_act is relu/)
    refuses(family, { num_local_experts: 8 }, /num_local_experts is 8/)
    refuses(family, { vision_config: {} }, /vision_config/)
    refuses(family, { partial_rotary_factor: 0.75, rope_parameters: null }, /partial_rotary_factor is 0\.75/)
    refuses(family, { rope_parameters: { rope_type: "yarn", rope_theta: 1e4, factor: 4 } }, /rope_type yarn/)
    refuses(family, { num_key_value_heads: 3 }, /4 query heads cannot share 3/)
    refuses(family, { hidden_size: "32" }, /hidden_size/)
  }
  refuses("gemma2", { use_bidirectional_attention: true }, /use_bidirectional_attention/)
})

test("what does not hold together", () => {
  const sliding = { sliding_window: 9, use_sliding_window: true }
  refuses("qwen2", { ...sliding, layer_types: ["full_attention"] }, /layer_types has 1 entries for 2 layers/)
  refuses("qwen2", { ...sliding, layer_types: ["full_attention", "chunked_attention"] }, /chunked_attention/)
  refuses("mistral", { sliding_window: -4 }, /positive integer(.|\n)*window/)
  refuses("gemma2", { attn_logit_softcapping: 0 }, /positive(.|\n)*attentionSoftCap/)
  refuses("gemma2", { query_pre_attn_scalar: -1 }, /attentionScale/)
  refuses("gemma3", { rope_parameters: null, rope_local_base_freq: 0 }, /localRopeTheta/)
  refuses("smollm3", { no_rope_layers: [1, 0] }, /no_rope_layers has 2 entries for 4 layers/)
  const short = { type: "longrope", short_factor: [1], long_factor: [1] }
  refuses("phi3", { rope_parameters: null, rope_scaling: short }, /1 divisors of frequencies, and a head of 8 has 4/)
  refuses("phi3", { rope_parameters: null, rope_scaling: { type: "longrope" } }, /has no short_factor/)
  refuses("gemma3", { num_hidden_layers: 1e9, layer_types: null }, /at most 10,000 layers/)
})

test("an architecture that is not known, with those that are", () => {
  assert.throws(
    () => decode("mistral", { architectures: ["MixtralForCausalLM"] }),
    (error) =>
      error instanceof UnknownArchitecture && /Mixtral.*MistralForCausalLM.*Gemma3ForCausalLM/.test(error.message)
  )
  assert.equal(decode("gemma3", { architectures: null }).architecture, "gemma3", "by model_type alone")
})
