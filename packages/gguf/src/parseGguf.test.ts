import assert from "node:assert/strict"
import { test } from "node:test"
import { memorySource } from "@graft/safetensors"
import { type EncodedTensor, type EncodedValue, encodeGguf } from "./encodeGguf.ts"
import { GgufError } from "./GgufError.ts"
import { parseGguf } from "./parseGguf.ts"

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

test("reads what the encoder wrote", () => {
  const file = parse(sound)
  assert.equal(file.version, 3)
  assert.equal(file.metadata.get("llama.block_count"), 1)
  assert.deepEqual(file.metadata.get("tokenizer.ggml.tokens"), ["<unk>", "<s>", "</s>", "▁", "a", "▁a"])
  assert.deepEqual(file.metadata.get("tokenizer.ggml.token_type"), Int32Array.of(2, 3, 3, 1, 1, 1))
  assert.equal(file.metadata.get("tokenizer.ggml.add_bos_token"), true)
  assert.deepEqual(file.tensors.get("token_embd.weight")?.shape, [6, 32])
  assert.equal(file.tensors.get("token_embd.weight")?.read().length, 6 * 34)
})

const refuses = (name: string, bytes: Uint8Array, message: RegExp): void => {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => parse(bytes),
      (error) => {
        assert.ok(error instanceof GgufError, String(error))
        assert.match(error.message, message)
        return error.path === "x.gguf"
      }
    )
  })
}
/** The sound file with a change at one place of its head. */
const changed = (at: number, change: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(sound)
  change(new DataView(bytes.buffer, at))
  return bytes
}

refuses("a file of 23 bytes", sound.slice(0, 23), /has 23 bytes/)
refuses(
  "another format",
  changed(0, (view) => view.setUint32(0, 1)),
  /does not begin with "GGUF"/
)
refuses(
  "version 1",
  changed(4, (view) => view.setUint32(0, 1, true)),
  /version 1; 2 and 3/
)
refuses(
  "big-endian",
  changed(4, (view) => view.setUint32(0, 3, false)),
  /big-endian/
)
refuses(
  "2^63 tensors",
  changed(8, (view) => view.setBigUint64(0, 1n << 63n, true)),
  /number of tensors is 9223372036854775808/
)
refuses(
  "more tensors than the file can list",
  changed(8, (view) => view.setBigUint64(0, 1n << 40n, true)),
  /list of 1099511627776 tensors would take/
)
refuses(
  "more keys than the file can hold",
  changed(16, (view) => view.setBigUint64(0, 1n << 40n, true)),
  /metadata keys would take/
)
refuses(
  "a key longer than the file",
  changed(24, (view) => view.setBigUint64(0, 1n << 40n, true)),
  /a metadata key would take/
)
refuses("a file cut short in its head", sound.slice(0, 300), /are left/)
refuses("a file cut short in its tensors", sound.slice(0, sound.length - 4000), /would end at byte/)
const withValue = (key: string, value: EncodedValue): Uint8Array => encodeGguf({ ...metadata, [key]: value }, tensors)
refuses(
  "an alignment that is no power of two",
  withValue("general.alignment", { type: "u32", value: 33 }),
  /general\.alignment is 33/
)
refuses("an alignment of 0", withValue("general.alignment", { type: "u32", value: 0 }), /general\.alignment is 0/)
const withTensors = (...list: ReadonlyArray<EncodedTensor>): Uint8Array => encodeGguf(metadata, list)
refuses("a tensor named twice", withTensors(tensor("a", [4]), tensor("a", [4])), /"a" comes twice/)
refuses("an unknown type", withTensors(tensor("a", [4], 99)), /type 99; known are F32, F16/)
refuses("a type taken out of the format", withTensors(tensor("a", [4], 4)), /type 4/)
refuses("rows that do not fit the blocks", withTensors(tensor("a", [2, 33], Q8_0, 100)), /rows of 33/)
refuses("five dimensions", withTensors(tensor("a", [1, 1, 1, 1, 4])), /5 dimensions/)
refuses("a dimension of nothing", withTensors(tensor("a", [4, 0])), /dimension of 0/)
refuses("sizes whose product overflows", withTensors(tensor("a", [2 ** 40, 2 ** 40], F32, 4)), /more than 2\^53/)
refuses("a tensor larger than the file", withTensors(tensor("a", [2 ** 30], F32, 4)), /would end at byte/)

test("refuses overlaps and odd offsets", () => {
  const one = encodeGguf({}, [tensor("a", [16]), tensor("b", [16])])
  // The entry of "b" ends with its offset; the data begins at the next multiple of 32.
  const head = 24 + 2 * (8 + 1 + 4 + 8 + 4 + 8)
  const offset = new DataView(one.buffer, head - 8)
  assert.equal(offset.getBigUint64(0, true), 64n)
  offset.setBigUint64(0, 32n, true)
  assert.throws(() => parse(one), /the tensors a and b overlap/)
  offset.setBigUint64(0, 40n, true)
  assert.throws(() => parse(one), /no multiple of the alignment 32/)
  offset.setBigUint64(0, (1n << 53n) - 32n, true)
  assert.throws(() => parse(one), /would end at byte/)
})
