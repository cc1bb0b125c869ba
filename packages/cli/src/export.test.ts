/** A trained adapter as a GGUF: what it must be for llama.cpp, and that merging it into the GGUF's own rows is our forward pass. */
import assert from "node:assert/strict"
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { dequantize, encodeGguf, type GgufFile, openGguf } from "@graft/gguf"
import { int64Bytes, writeSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf } from "./goldenSets.ts"

const folder = temporaryFolder()
const TIMEOUT = { timeout: 240_000 }
const backend = backends.at(-1)!
const model = join(fixtures, "tiny-gguf/q8_0.gguf")

const onBoth = <A>(one: string, other: string, use: (one: GgufFile, other: GgufFile) => A): Promise<A> =>
  Effect.runPromise(Effect.scoped(Effect.map(Effect.all([openGguf(one), openGguf(other)]), ([a, b]) => use(a, b))))
const floats = (bytes: Uint8Array): Float32Array => new Float32Array(new Uint8Array(bytes).buffer)

const ids = Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % 256)
const idsFile = join(folder, "ids.safetensors")
await Effect.runPromise(
  writeSafetensors(idsFile, [{ name: "input_ids", dtype: "I64", shape: [1, 24], read: () => int64Bytes(ids) }])
)
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, JSON.stringify({ input_ids: ids, labels: ids }))

let count = 0
const logitsOf = async (...flags: ReadonlyArray<string>): Promise<Float32Array> => {
  const out = join(folder, `logits-${count++}.safetensors`)
  await graftOk("logits", "--ids", idsFile, "--out", out, "--backend", backend, "--compute", "f32", ...flags)
  return (await floatsOf(out)).get("logits")!
}
const train = async (name: string, ...flags: ReadonlyArray<string>): Promise<string> => {
  const out = join(folder, name)
  const how = ["--backend", backend, "--compute", "f32", "--steps", "4", "--lr", "2e-2", "--rank", "4"]
  await graftOk("train", "--model", model, "--data", rows, "--out", out, ...how, ...flags)
  return out
}

/** As llama.cpp computes: each matrix of the base plus alpha / rank times B·A, in the file's own row order. */
const merged = (base: GgufFile, adapter: GgufFile): Uint8Array => {
  const alpha = adapter.metadata.get("adapter.lora.alpha")
  assert.ok(typeof alpha === "number")
  const tensors = [...base.tensors.values()].map(({ name, shape, type, read }) => {
    const [out, inner] = shape
    if (type.name === "F32" || inner === undefined) return { name, shape, type: 0, bytes: read() }
    const w = new Float32Array(out! * inner)
    dequantize(type.name, w, read())
    const [a, b] = [adapter.tensors.get(`${name}.lora_a`), adapter.tensors.get(`${name}.lora_b`)]
    if (a !== undefined && b !== undefined) {
      const rank = a.shape[0]!
      assert.deepEqual(
        [a.shape, b.shape],
        [
          [rank, inner],
          [out, rank]
        ],
        name
      )
      const [av, bv] = [floats(a.read()), floats(b.read())]
      for (let o = 0; o < out!; o++)
        for (let i = 0; i < inner; i++) {
          let sum = 0
          for (let r = 0; r < rank; r++) sum += bv[o * rank + r]! * av[r * inner + i]!
          w[o * inner + i]! += (alpha / rank) * sum
        }
    }
    return { name, shape, type: 0, bytes: new Uint8Array(w.buffer) }
  })
  const number = (key: string) => ({ type: "u32", value: Number(base.metadata.get(key)) }) as const
  const architecture = { type: "text", value: "llama" } as const
  const epsilon = Number(base.metadata.get("llama.attention.layer_norm_rms_epsilon"))
  const keys = ["block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"]
  const heads = ["attention.head_count", "attention.head_count_kv"]
  return encodeGguf(
    {
      "general.architecture": architecture,
      ...Object.fromEntries([...keys, ...heads].map((key) => [`llama.${key}`, number(`llama.${key}`)])),
      "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: epsilon }
    },
    tensors
  )
}

for (const flags of [[], ["--rslora", "--alpha", "3", "--target", "q_proj,k_proj,down_proj"]]) {
  test(
    `the adapter's GGUF over the base's own rows is the adapter here: ${flags.join(" ") || "LoRA"}`,
    TIMEOUT,
    async () => {
      const adapter = await train(`adapter-${flags.length}`, ...flags)
      const file = join(folder, `adapter-${flags.length}.gguf`)
      await graftOk("export", "--adapter", adapter, "--model", model, "--out", file)
      const path = join(folder, `merged-${flags.length}.gguf`)
      const whole = await onBoth(model, file, (base, theirs) => {
        assert.equal(theirs.metadata.get("general.architecture"), "llama")
        assert.equal(theirs.metadata.get("general.type"), "adapter")
        assert.equal(theirs.metadata.get("adapter.type"), "lora")
        assert.equal(theirs.tensors.size, flags.length === 0 ? 28 : 12)
        return merged(base, theirs)
      })
      writeFileSync(path, whole)
      const wanted = await logitsOf("--model", model, "--adapter", adapter)
      const plain = await logitsOf("--model", model)
      assert.ok(distance(plain, wanted) > 1e-2, "the adapter does something")
      assert.ok(distance(await logitsOf("--model", path), wanted) <= 1e-4)
    }
  )
}

test("PEFT's two files alone, and what cannot be exported", TIMEOUT, async () => {
  const adapter = await train("plain")
  const out = join(folder, "peft")
  await graftOk("export", "--adapter", adapter, "--model", model, "--format", "peft", "--out", out)
  assert.deepEqual(readdirSync(out).sort(), ["adapter_config.json", "adapter_model.safetensors"])
  for (const name of readdirSync(out))
    assert.deepEqual(readFileSync(join(out, name)), readFileSync(join(adapter, name)))
  const refused = async (message: RegExp, ...args: ReadonlyArray<string>) => {
    const { code, stderr } = await graft("export", "--model", model, "--out", join(folder, "x.gguf"), ...args)
    assert.equal(code, 1)
    assert.match(stderr, message)
  }
  await refused(/is a DoRA adapter, and a GGUF adapter has no magnitudes/, "--adapter", await train("dora", "--dora"))
  const other = join(folder, "other")
  await graftOk("export", "--adapter", adapter, "--model", model, "--format", "peft", "--out", other)
  const config = readFileSync(join(other, "adapter_config.json"), "utf8")
  writeFileSync(join(other, "adapter_config.json"), config.replace('"r": 4', '"r": 8'))
  await refused(/other: .*lora_A/, "--adapter", other)
  copyFileSync(join(adapter, "adapter_model.safetensors"), join(other, "adapter_model.safetensors"))
  await refused(/nowhere/, "--adapter", join(folder, "nowhere"))
})

test("verify says what it needs before it loads anything", TIMEOUT, async () => {
  const { code, stderr } = await graft("verify", "--model", join(fixtures, "tiny-bpe"), "--adapter", "x")
  assert.equal(code, 1)
  assert.match(stderr, /tiny-bpe is no \.gguf, and llama\.cpp opens nothing else/)
})
