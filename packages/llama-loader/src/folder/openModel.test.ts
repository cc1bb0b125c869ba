import assert from "node:assert/strict"
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"
import { openSafetensors, writeSafetensors } from "@graft/safetensors"
import { beside, testBeside } from "@graft/testing"
import { Effect } from "effect"
import { contentFingerprint } from "./contentFingerprint.ts"
import { type OpenedModel, openModel } from "./openModel.ts"

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const fixtures = at("../../../testing/fixtures/")
const TINY_LLAMA = "golden/tiny-llama"
const SMOLLM2 = "models/smollm2-135m-instruct-q4_1.gguf"
const testGolden = testBeside(TINY_LLAMA)
const temporary = mkdtempSync(join(tmpdir(), "graft-model-"))
after(() => rmSync(temporary, { recursive: true }))

const open = <A>(path: string, use: (model: OpenedModel) => A): Promise<A> =>
  Effect.runPromise(Effect.scoped(Effect.map(openModel(path), use)))
const fails = (path: string) => Effect.runPromise(Effect.flip(Effect.scoped(openModel(path))))

testGolden("a folder without a tokenizer", async () => {
  await open(beside(TINY_LLAMA), (model) => {
    assert.equal(model.tokenizer, undefined)
    assert.equal(model.chatTemplate, undefined)
    assert.deepEqual(model.stopIds, [2])
    assert.equal(model.tensors.get("model.layers.3.mlp.up_proj.weight")!.read().length, 352 * 128 * 4)
    assert.match(model.description, /^tiny-llama: Llama, 870 k parameters, 4 layers.*safetensors, F32$/)
    const file = model.tensors.get("lm_head.weight")!.file!
    assert.deepEqual(
      new Uint8Array(readFileSync(file.path)).slice(file.offset, file.offset + file.bytes),
      model.tensors.get("lm_head.weight")!.read()
    )
  })
})

testBeside("golden/tiny-llama-nf4")("bitsandbytes' checkpoint opens with its quantised parts", async () => {
  await open(beside("golden/tiny-llama-nf4"), (model) => {
    assert.equal(model.config.quantization?.codec, "nf4")
    assert.equal(model.tensors.get("model.layers.0.self_attn.q_proj.weight")?.dtype, "u8")
    assert.equal(model.tensors.get("model.layers.0.self_attn.q_proj.weight.quant_map")?.dtype, "f32")
  })
})

test("shards", async () => {
  await open(join(fixtures, "tiny-llama"), (model) => {
    assert.equal(model.tensors.names.length, 2 * 9 + 3)
    for (const name of model.tensors.names) assert.equal(model.tensors.get(name)!.dtype, "bf16")
  })
})

testGolden("folder and GGUF of one model agree in description, tokenizer and template", async () => {
  for (const name of ["tiny-bpe", "tiny-spm"]) {
    const read = (path: string) =>
      open(path, (model) => ({
        layers: model.config.layers,
        vocabulary: model.config.vocabularySize,
        tied: model.config.tieWordEmbeddings,
        ids: model.tokenizer!.encode("Hello there", { addSpecial: true }),
        stops: [...model.stopIds].sort(),
        chat: model.chatTemplate?.render([{ role: "user", content: "Hi" }], { addGenerationPrompt: true }),
        fingerprint: model.fingerprint
      }))
    const [folder, gguf] = [await read(join(fixtures, name)), await read(join(fixtures, name, "model.gguf"))]
    assert.deepEqual({ ...gguf, fingerprint: "" }, { ...folder, fingerprint: "" })
    assert.equal((await read(join(fixtures, name))).fingerprint, folder.fingerprint)
  }
})

testBeside(SMOLLM2)("the real model", async () => {
  await open(beside(SMOLLM2), (model) => {
    assert.match(model.description, /134\.5 M parameters, 30 layers.*Q4_1 and F32 and Q8_0$/)
    assert.deepEqual(model.stopIds, [2, 0])
    const text = model.chatTemplate!.render([{ role: "user", content: "Hi" }], { addGenerationPrompt: true })
    assert.match(text, /^<\|im_start\|>system\n.*<\|im_start\|>user\nHi<\|im_end\|>\n<\|im_start\|>assistant\n$/s)
    const embedding = model.tensors.get("model.embed_tokens.weight")!
    assert.deepEqual(embedding.shape, [49_152, 576])
    assert.equal(embedding.read().length, 49_152 * 576 * 4)
  })
})

/** A copy of the golden folder, to be damaged. */
const damaged = (name: string, change: (folder: string) => void): string => {
  const folder = join(temporary, name)
  cpSync(beside(TINY_LLAMA), folder, { recursive: true, mode: 0 })
  change(folder)
  return folder
}
const config =
  (change: Record<string, unknown>) =>
  (folder: string): void => {
    const path = beside(`${TINY_LLAMA}/config.json`)
    rmSync(join(folder, "config.json"))
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...change }))
  }

testGolden("every tensor that does not fit the description is in one message", async () => {
  const error = await fails(
    damaged(
      "shapes",
      config({ intermediate_size: 350, num_key_value_heads: 1, tie_word_embeddings: true, attention_bias: true })
    )
  )
  assert.equal(error._tag, "WeightsMismatch")
  assert.match(error.message, /model\.layers\.0\.mlp\.gate_proj\.weight is \[352, 128\], wanted \[350, 128\]/)
  assert.match(error.message, /model\.layers\.0\.self_attn\.k_proj\.weight is \[64, 128\], wanted \[32, 128\]/)
  assert.match(error.message, /model\.layers\.0\.self_attn\.q_proj\.bias \[128\] is missing/)
  assert.match(error.message, /and \d+ more/)
  assert.doesNotMatch(error.message, /lm_head/)
})

testGolden("missing and superfluous layers, and ten thousand of them", async () => {
  assert.match(
    (await fails(damaged("fewer", config({ num_hidden_layers: 3 })))).message,
    /model\.layers\.3\.input_layernorm\.weight has no place in the model/
  )
  assert.match(
    (await fails(damaged("more", config({ num_hidden_layers: 5 })))).message,
    /model\.layers\.4\.input_layernorm\.weight \[128\] is missing/
  )
  assert.match(
    (await fails(damaged("many", config({ num_hidden_layers: 9999 })))).message,
    /9999 layers are described, and there are 39 tensors/
  )
})

testGolden("weights of a format that is not computed with", async () => {
  const folder = damaged("f64", () => {})
  await Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const file = yield* openSafetensors(beside(`${TINY_LLAMA}/model.safetensors`))
        const tensors = [...file.tensors.values()].map((tensor) =>
          tensor.name === "model.norm.weight"
            ? { ...tensor, dtype: "F64" as const, read: () => new Uint8Array(128 * 8) }
            : tensor
        )
        rmSync(join(folder, "model.safetensors"))
        yield* writeSafetensors(join(folder, "model.safetensors"), tensors)
      })
    )
  )
  assert.match((await fails(folder)).message, /model\.norm\.weight is F64/)
})

testGolden("what is missing is named, with what to do", async () => {
  assert.match((await fails(join(temporary, "nowhere"))).message, /cannot open .*nowhere \(ENOENT\)/)
  assert.match(
    (await fails(damaged("no-config", (folder) => rmSync(join(folder, "config.json"))))).message,
    /has no config\.json/
  )
  const pickled = damaged("pickled", (folder) => {
    rmSync(join(folder, "model.safetensors"))
    writeFileSync(join(folder, "pytorch_model.bin"), "x")
  })
  assert.match((await fails(pickled)).message, /has no model\.safetensors or .*There is pytorch_model\.bin, a pickle/)
  const nested = damaged("nested", (folder) => {
    rmSync(join(folder, "config.json"))
    writeFileSync(join(folder, "m.gguf"), "x")
  })
  assert.match((await fails(nested)).message, /There is m\.gguf: name that file itself/)
})

testGolden("damaged files are typed errors", async () => {
  const cut = damaged("cut", (folder) => {
    const bytes = readFileSync(join(folder, "model.safetensors"))
    rmSync(join(folder, "model.safetensors"))
    writeFileSync(join(folder, "model.safetensors"), bytes.subarray(0, 100_000))
  })
  assert.equal((await fails(cut))._tag, "SafetensorsError")
  const text = damaged("text", (folder) => {
    rmSync(join(folder, "config.json"))
    writeFileSync(join(folder, "config.json"), "{,}")
  })
  assert.match((await fails(text)).message, /config\.json is not JSON/)
  assert.equal(
    (await fails(damaged("mamba", config({ architectures: ["MambaForCausalLM"] }))))._tag,
    "UnknownArchitecture"
  )
  const shards = join(temporary, "shards")
  cpSync(join(fixtures, "tiny-llama"), shards, { recursive: true })
  rmSync(join(shards, "model-00002-of-00002.safetensors"))
  assert.match((await fails(shards)).message, /are missing in .*: model-00002-of-00002\.safetensors/)
  const noGguf = join(temporary, "x.gguf")
  writeFileSync(noGguf, "GGUF but no more than that, I am afraid")
  assert.equal((await fails(noGguf))._tag, "GgufError")
  const tokenizer = join(temporary, "tokenizer")
  cpSync(join(fixtures, "tiny-bpe"), tokenizer, { recursive: true })
  writeFileSync(join(tokenizer, "tokenizer.json"), '{"model":{}}')
  assert.equal((await fails(tokenizer))._tag, "TokenizerError")
})

test("a model's content has one name wherever it lies, and one bit of any weight changes it", async () => {
  const [from, moved] = [join(fixtures, "tiny-bpe"), join(temporary, "moved")]
  cpSync(from, moved, { recursive: true })
  const named = (path: string) =>
    Effect.runPromise(
      Effect.scoped(Effect.flatMap(openModel(path), (model) => Effect.promise(() => contentFingerprint(model))))
    )
  const name = await named(from)
  assert.match(name, /^[0-9a-f]{32}$/)
  assert.equal(await named(moved), name)
  const weights = join(moved, "model.safetensors")
  const bytes = readFileSync(weights)
  bytes[bytes.length - 12_345]! ^= 1
  writeFileSync(weights, bytes)
  assert.notEqual(await named(moved), name)
  const { size, mtimeMs } = statSync(weights)
  const sha256 = "0".repeat(64)
  writeFileSync(`${weights}.sha256`, JSON.stringify({ sha256, bytes: size, modified: mtimeMs }))
  const kept = await named(moved)
  bytes[bytes.length - 12_345]! ^= 2
  writeFileSync(weights, bytes)
  utimesSync(weights, mtimeMs / 1000, mtimeMs / 1000)
  assert.equal(await named(moved), kept, "a hash that is kept stands for the bytes of its size and time")
  const gguf = join(temporary, "other-name.gguf")
  cpSync(join(from, "model.gguf"), gguf)
  assert.equal(await named(gguf), await named(join(from, "model.gguf")))
  assert.notEqual(await named(gguf), name, "its weights are others")
})
