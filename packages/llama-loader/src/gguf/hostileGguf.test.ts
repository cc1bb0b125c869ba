import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { type EncodedTensor, type EncodedValue, encodeGguf, GgufError, parseGguf } from "@graft/gguf"
import { type ByteSource, memorySource } from "@graft/safetensors"
import { mutateBytes } from "@graft/safetensors/mutateBytes"
import { beside, testBeside } from "@graft/testing"
import { ConfigError, UnknownArchitecture } from "../config/ConfigError.ts"
import { ggufTokenizer } from "../tokenizer/ggufTokenizer.ts"
import { TokenizerError } from "../tokenizer/Tokenizer.ts"
import { ggufConfig } from "./ggufConfig.ts"
import { ggufTensors } from "./ggufTensors.ts"

const SMOLLM2 = "models/smollm2-135m-instruct-q4_1.gguf"
const real = beside(SMOLLM2)

const F32 = 0
const Q8_0 = 8
const tensor = (
  name: string,
  shape: ReadonlyArray<number>,
  type = F32,
  bytes = 4 * shape.reduce((a, b) => a * b, 1)
): EncodedTensor => ({
  name,
  shape,
  type,
  bytes: new Uint8Array(bytes)
})

/** A Llama of one layer with a tokenizer of a few tokens. */
const metadata: Readonly<Record<string, EncodedValue>> = {
  "general.architecture": { type: "text", value: "llama" },
  "llama.block_count": { type: "u32", value: 1 },
  "llama.context_length": { type: "u32", value: 64 },
  "llama.embedding_length": { type: "u32", value: 32 },
  "llama.feed_forward_length": { type: "u32", value: 32 },
  "llama.attention.head_count": { type: "u32", value: 2 },
  "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
  "llama.rope.freq_base": { type: "f32", value: 10_000 },
  "tokenizer.ggml.model": { type: "text", value: "llama" },
  "tokenizer.ggml.tokens": { type: "texts", value: ["<unk>", "<s>", "</s>", "▁", "a", "▁a"] },
  "tokenizer.ggml.scores": { type: "f32s", value: [0, 0, 0, -1, -2, -3] },
  "tokenizer.ggml.token_type": { type: "i32s", value: [2, 3, 3, 1, 1, 1] },
  "tokenizer.ggml.bos_token_id": { type: "u32", value: 1 },
  "tokenizer.ggml.add_bos_token": { type: "bool", value: true }
}
const tensors = [
  tensor("token_embd.weight", [6, 32], Q8_0, 6 * 34),
  tensor("output_norm.weight", [32]),
  tensor("blk.0.attn_norm.weight", [32]),
  tensor("blk.0.attn_q.weight", [32, 32])
]
const sound = encodeGguf(metadata, tensors)
const parse = (bytes: Uint8Array) => parseGguf(memorySource("x.gguf", bytes))

test("a whole model in memory", () => {
  const file = parse(sound)
  assert.equal(ggufConfig(file).vocabularySize, 6)
  assert.deepEqual(ggufTokenizer(file)?.encode("a a", { addSpecial: true }), [1, 5, 5])
})

testBeside(SMOLLM2)("reads the real model's head", () => {
  const file = parseGguf(memorySource(real, readFileSync(real)))
  assert.equal(file.tensors.size, 272)
  assert.equal(file.metadata.size, 33)
  assert.equal(file.metadata.get("tokenizer.ggml.pre"), "smollm")
  const tokens = file.metadata.get("tokenizer.ggml.tokens")
  assert.ok(Array.isArray(tokens) && tokens.length === 49_152)
  const config = ggufConfig(file)
  assert.equal(config.layers, 30)
  assert.equal(config.headDim, 64)
  assert.equal(config.kvHeads, 3)
  assert.equal(config.ropeTheta, 100_000)
  assert.ok(config.tieWordEmbeddings)
  assert.ok(Math.abs(config.rmsNormEpsilon - 1e-5) < 1e-11)
})

/** `bun run mutations` tries a hundred thousand. */
const MUTATIONS = Number(process.env["GRAFT_MUTATIONS"] ?? 4000)

/** Damages the head of `sound` in `count` ways and reads what is left of the model. */
const attack = (sound: Uint8Array, headBytes: number, count: number): void => {
  let longest = 0
  let accepted = 0
  let used = 0
  for (let seed = 1; seed <= count; seed++) {
    // Most of the damage must hit the head, which is a small part of the file.
    const head = mutateBytes(sound.subarray(0, headBytes), seed)
    const bytes = new Uint8Array(head.length + sound.length - headBytes)
    bytes.set(head)
    bytes.set(sound.subarray(headBytes), head.length)
    const inner = memorySource("x", bytes)
    const source: ByteSource = {
      ...inner,
      read: (offset, length) => {
        longest = Math.max(longest, length - bytes.length)
        return inner.read(offset, length)
      }
    }
    try {
      const file = parseGguf(source)
      accepted++
      for (const each of file.tensors.values()) assert.equal(each.read().length, each.bytes)
      const config = ggufConfig(file)
      const listed = ggufTensors(file, config)
      for (const name of listed.names) {
        const { read, blocks } = listed.get(name)!
        read()
        if (blocks !== undefined)
          assert.equal(
            blocks.source.read().length,
            blocks.source.shape.reduce((a, b) => a * b, 1)
          )
      }
      ggufTokenizer(file)?.encode("a b\n", { addSpecial: true })
      used++
    } catch (error) {
      const typed = [GgufError, ConfigError, UnknownArchitecture, TokenizerError].some((kind) => error instanceof kind)
      if (!typed) throw new Error(`seed ${seed}`, { cause: error })
    }
  }
  assert.ok(longest <= 0, "asked for more than the file has")
  assert.ok(
    accepted > count / 100 && used > count / 1000 && used < accepted,
    `${accepted} of the damaged files passed, ${used} could be used`
  )
}

test(`${MUTATIONS} damaged files: typed errors only, and nothing asked for beyond the file`, { timeout: 600_000 }, () =>
  attack(sound, 1200, MUTATIONS)
)

const families = fileURLToPath(new URL("../../fixtures/architectures/", import.meta.url))
for (const family of readdirSync(families)) {
  const count = Math.ceil(MUTATIONS / 10)
  test(`${family}: ${count} damaged files`, { timeout: 600_000 }, () => {
    // Its description comes first; behind lie the vocabulary and the tensors' names, as in any file.
    attack(new Uint8Array(readFileSync(`${families}${family}/model.gguf`)), 900, count)
  })
}
