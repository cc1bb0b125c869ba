/** Synthetic checkpoints: exact shapes, seeded values, the same in 4 bits as when quantised afterwards. */
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { decodeHuggingFace } from "@graft/llama-loader"
import { backends, graft, graftOk, jsonLines, temporaryFolder } from "./commandUnderTest.ts"
import { gaussianFill } from "./synth/gaussianBits.ts"
import { knownShapes } from "./synth/knownShapes.ts"
import { byteLength, shards, syntheticTensors } from "./synth/syntheticTensors.ts"

const folder = temporaryFolder()
const config = join(folder, "config.json")
const tiny = {
  ...knownShapes["llama-2-7b"],
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  vocab_size: 700
}
writeFileSync(config, JSON.stringify(tiny))
const TIMEOUT = { timeout: 120_000 }
const backend = ["--backend", backends.at(-1)!]
const hashOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex")

test("Llama-2-7b's files: two of them, 13.5 GB, cut where transformers cut them; nothing is drawn to know that", () => {
  const { all } = syntheticTensors(decodeHuggingFace("llama-2-7b", knownShapes["llama-2-7b"] ?? {}), "f16", 0)
  const files = shards(all, 10e9)
  assert.equal(
    all.reduce((n, tensor) => n + byteLength(tensor), 0),
    13_476_831_232
  )
  assert.deepEqual(
    files.map((file) => file.reduce((n, tensor) => n + byteLength(tensor), 0)),
    [9_976_553_472, 3_500_277_760]
  )
})

test("values are normal with deviation 0.02, a function of seed, name and place alone", () => {
  const n = 1 << 20
  const bytes = gaussianFill("a", "f32", 1)(0, n)
  const values = new Float32Array(bytes.buffer)
  const moment = (k: number) => values.reduce((sum, v) => sum + (v / 0.02) ** k, 0) / n
  assert.ok(Math.abs(moment(1)) < 5e-3 && Math.abs(moment(2) - 1) < 5e-3 && Math.abs(moment(3)) < 2e-2)
  assert.ok(Math.abs(moment(4) - 3) < 3e-2)
  assert.deepEqual(gaussianFill("a", "f32", 1)(1000, 50), bytes.slice(4000, 4200))
  assert.notDeepEqual(gaussianFill("b", "f32", 1)(0, 50), bytes.slice(0, 200))
  assert.notDeepEqual(gaussianFill("a", "f32", 2)(0, 50), bytes.slice(0, 200))
})

test("a folder opens as a model, in shards or in one file; the seed decides its bytes", TIMEOUT, async () => {
  const out = join(folder, "dense")
  await graftOk("synth", "--config", config, "--out", out, "--shard-size", "0.0002")
  const weights = readdirSync(out).filter((name) => name.endsWith(".safetensors"))
  assert.ok(weights.length > 1 && weights.every((name) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name)))
  assert.match(await graftOk("inspect", out), /tokenizer +700 tokens/)
  const [one, two, other] = ["one", "two", "other"].map((name) => join(folder, name)) as [string, string, string] // three names
  for (const [path, seed] of [
    [one, "0"],
    [two, "0"],
    [other, "1"]
  ] as const)
    await graftOk("synth", "--config", config, "--out", path, "--seed", seed, "--dtype", "bf16")
  assert.equal(hashOf(join(one, "model.safetensors")), hashOf(join(two, "model.safetensors")))
  assert.notEqual(hashOf(join(one, "model.safetensors")), hashOf(join(other, "model.safetensors")))
  assert.match((await graft("synth", "--config", config, "--out", one)).stderr, /holds a model already/)
})

test("--quantize writes what `graft quantize` makes of the dense one", TIMEOUT, async () => {
  const [dense, direct, after] = ["d", "direct", "after"].map((name) => join(folder, name)) as [string, string, string] // three names
  await graftOk("synth", "--config", config, "--out", dense)
  await graftOk("synth", "--config", config, "--out", direct, "--quantize", "nf4", ...backend)
  await graftOk("quantize", "--model", dense, "--out", after, ...backend)
  assert.equal(hashOf(join(direct, "model.safetensors")), hashOf(join(after, "model.safetensors")))
})

test("what cannot be is said before anything is written", TIMEOUT, async () => {
  for (const [args, problem] of [
    [["--config", "llama-3000b"], /known by name are .*llama-65b/],
    [["--config", "llama-65b", "--layers", "9999"], /the disk has/]
  ] as const) {
    const out = join(folder, "nothing")
    const { code, stderr } = await graft("synth", ...args, "--out", out)
    assert.equal(code, 1)
    assert.match(stderr, problem)
    assert.equal(existsSync(out), false)
  }
})

test("a fresh model's loss begins at ln V + σ²h/2, and falls on one batch that repeats", TIMEOUT, async () => {
  const [hidden, vocabulary, tokens] = [2048, 512, 256]
  const config = join(folder, "wide.json")
  const shapes = {
    architectures: ["LlamaForCausalLM"],
    hidden_size: hidden,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 16,
    vocab_size: vocabulary,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    torch_dtype: "float32"
  }
  writeFileSync(config, JSON.stringify(shapes))
  const [wide, rows] = [join(folder, "wide"), join(folder, "wide.jsonl")]
  await graftOk("synth", "--config", config, "--out", wide)
  const ids = Array.from({ length: tokens }, (_, i) => 3 + ((i * 7919) % (vocabulary - 3)))
  writeFileSync(rows, `${JSON.stringify({ input_ids: ids })}\n`)
  const flags = ["--steps", "3", "--learning-rate", "1e-2", "--rank", "8", "--compute", "f32", "--json"]
  const out = ["--out", join(folder, "wide-adapter"), "--backend", backends.at(-1)!]
  const events = jsonLines(await graftOk("train", "--model", wide, "--data", rows, ...flags, ...out))
  const losses = events.filter(({ event }) => event === "Step").map(({ loss }) => Number(loss))
  // Logits of normed states of length √h are normal with variance σ²h: E ln Σ exp is ln V + σ²h/2, and the target's is 0.
  const start = Math.log(vocabulary) + (0.02 ** 2 * hidden) / 2
  assert.ok(Math.abs(losses[0]! - start) < 0.15, `${losses[0]}, wanted ${start}`)
  assert.ok(losses[2]! < losses[0]! - 0.1, losses.join())
})
