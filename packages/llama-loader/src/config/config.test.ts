import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { parseGguf } from "@graft/gguf"
import { memorySource } from "@graft/safetensors"
import { ggufConfig } from "../gguf/ggufConfig.ts"
import { ConfigError, UnknownArchitecture } from "./ConfigError.ts"
import { decodeHuggingFace } from "./decodeHuggingFace.ts"
import { inverseFrequencies } from "./inverseFrequencies.ts"

const json = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8")) as Record<string, unknown> // an object: the fixtures are
const golden = json("../../fixtures/configs/transformers5.json")
const llama3 = json("../../../testing/fixtures/tiny-llama3/config.json")

test("transformers 5 spelling", () => {
  const config = decodeHuggingFace("config.json", golden)
  assert.deepEqual(
    { ...config },
    {
      architecture: "llama",
      hiddenSize: 128,
      intermediateSize: 352,
      layers: 4,
      heads: 4,
      kvHeads: 2,
      headDim: 32,
      vocabularySize: 512,
      maxPositions: 256,
      ropeTheta: 10_000,
      ropeScaling: { type: "none" },
      rmsNormEpsilon: 1e-5,
      tieWordEmbeddings: false,
      attentionBias: false,
      mlpBias: false,
      bosTokenId: 1,
      eosTokenIds: [2],
      storedDtype: "float32"
    }
  )
  assert.equal(config.queryWidth, 128)
  assert.equal(config.keyValueWidth, 64)
})

test("transformers 4 spelling, with Llama-3 scaling and the head's size left out", () => {
  assert.ok("rope_theta" in llama3 && "rope_scaling" in llama3 && "torch_dtype" in llama3 && !("head_dim" in llama3))
  const config = decodeHuggingFace("config.json", llama3)
  assert.equal(config.headDim, config.hiddenSize / config.heads)
  assert.equal(config.ropeTheta, llama3["rope_theta"])
  assert.equal(config.ropeScaling.type, "llama3")
  assert.equal(config.storedDtype, "float16")
  assert.ok(config.tieWordEmbeddings)
})

test("bitsandbytes' quantization is data", () => {
  const config = decodeHuggingFace("config.json", json("../../fixtures/configs/bitsandbytes.json"))
  assert.deepEqual(config.quantization, {
    method: "bitsandbytes",
    bits: 4,
    codec: "nf4",
    doubleQuantization: true,
    computeDtype: "float32",
    storageDtype: "uint8",
    skippedModules: []
  })
})

test("the fuller list of ends of text is generation_config's", () => {
  const config = decodeHuggingFace("config.json", golden, { eos_token_id: [2, 7] })
  assert.deepEqual(config.eosTokenIds, [2, 7])
  assert.deepEqual(decodeHuggingFace("config.json", { ...golden, eos_token_id: [3, 4] }).eosTokenIds, [3, 4])
  assert.deepEqual(decodeHuggingFace("config.json", { ...golden, eos_token_id: null }).eosTokenIds, [])
})

const refuses = (change: Record<string, unknown>, message: RegExp): void => {
  assert.throws(
    () => decodeHuggingFace("config.json", { ...golden, ...change }),
    (error) => error instanceof ConfigError && message.test(error.message) && error.path === "config.json"
  )
}

test("says what does not hold together, all of it", () => {
  refuses({ hidden_size: "128", num_attention_heads: null }, /hidden_size(.|\n)*num_attention_heads/)
  refuses({ hidden_size: -1, num_hidden_layers: 1.5 }, /hiddenSize(.|\n)*layers/)
  refuses({ num_hidden_layers: 1e9 }, /at most 10,000 layers/)
  refuses({ num_key_value_heads: 3 }, /4 query heads cannot share 3/)
  refuses({ head_dim: 33 }, /a head has 33 numbers/)
  refuses({ hidden_act: "gelu" }, /hidden_act is gelu/)
  refuses(
    { rope_parameters: { rope_type: "yarn", rope_theta: 1e4, factor: 4 } },
    /rope_type yarn; default, linear, llama3 and longrope/
  )
  refuses({ rope_parameters: { rope_type: "linear", rope_theta: 1e4 } }, /has no factor/)
  refuses({ rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.5 } }, /partial_rotary_factor is 0\.5/)
  refuses({ quantization_config: { quant_method: "gptq", bits: 4 } }, /quantised by gptq/)
  refuses({ quantization_config: { load_in_4bit: true, bnb_4bit_quant_type: "int4" } }, /bnb_4bit_quant_type/)
})

test("an unknown architecture is named, with those that are known", () => {
  for (const raw of [{ ...golden, architectures: ["MambaForCausalLM"] }, { model_type: "mamba" }])
    assert.throws(
      () => decodeHuggingFace("config.json", raw),
      (error) => error instanceof UnknownArchitecture && /amba.*known are LlamaForCausalLM/.test(error.message)
    )
  assert.throws(() => decodeHuggingFace("config.json", [1]), ConfigError)
  assert.equal(decodeHuggingFace("config.json", { ...golden, architectures: null }).layers, 4)
})

const plain = { headDim: 64, ropeTheta: 10_000, ropeScaling: { type: "none" as const } }
const near = (got: Float32Array, want: ReadonlyArray<number>): void => {
  assert.equal(got.length, want.length)
  got.forEach((value, i) => {
    assert.ok(Math.abs(value / want[i]! - 1) < 5e-7, `${i}: ${value}, wanted ${want[i]}`)
  })
}
const unscaled = Array.from({ length: 32 }, (_, i) => 10_000 ** (-i / 32))

test("frequencies, plain, linear and by divisors", () => {
  near(inverseFrequencies(plain), unscaled)
  near(
    inverseFrequencies({ ...plain, ropeScaling: { type: "linear", factor: 4 } }),
    unscaled.map((f) => f / 4)
  )
  const factors = Array.from({ length: 32 }, (_, i) => 1 + i)
  near(
    inverseFrequencies({ ...plain, ropeScaling: { type: "factors", factors } }),
    unscaled.map((f, i) => f / (1 + i))
  )
})

test("Llama-3 frequencies: quick ones kept, slow ones divided, those between in between, as in llama.cpp's divisors", () => {
  const scaling = {
    type: "llama3" as const,
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalMaxPositions: 8192
  }
  const got = inverseFrequencies({ headDim: 128, ropeTheta: 500_000, ropeScaling: scaling })
  let between = 0
  got.forEach((value, i) => {
    const f = 500_000 ** (-i / 64)
    const turns = (8192 * f) / (2 * Math.PI) // over the original context
    const kept = Math.min(1, Math.max(0, (turns - 1) / 3))
    if (kept > 0 && kept < 1) between++
    assert.ok(Math.abs(value / (f * (kept + (1 - kept) / 8)) - 1) < 1e-6)
  })
  assert.ok(between > 3)
  // The GGUF of the same model holds divisors that were computed by another program.
  const path = fileURLToPath(new URL("../../../testing/fixtures/tiny-gguf/llama3-q8_0.gguf", import.meta.url))
  const gguf = ggufConfig(parseGguf(memorySource(path, readFileSync(path))))
  assert.equal(gguf.ropeScaling.type, "factors")
  near(inverseFrequencies(gguf), [...inverseFrequencies(decodeHuggingFace("config.json", llama3))])
})
