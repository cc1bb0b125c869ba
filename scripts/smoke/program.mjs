// What every runtime must be able to do with the packages as a user gets them: load, 3 steps, save, generate; on the native
// backend where its library is. argv[2] is an empty folder.
import assert from "node:assert/strict"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Cpu, nativePath } from "@graft/backend-cpu"
import { runGraft } from "@graft/cli"
import { Adapter, assemble, Backend, Dense, Kernels, loadAtOnce, ModelLoader, Reference, Scope } from "@graft/core"
import { decodeHuggingFace, generate, greedy, LlamaLoader, planGeneration, randomTensors } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { writeSafetensors } from "@graft/safetensors"
import { Effect, Layer } from "effect"

const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"))
for (const name of Object.keys(dependencies)) {
  const exported = Object.keys(await import(name))
  assert.ok(exported.length > 0, `${name} exports nothing`)
}

// A random Llama of Hugging Face's layout.
const model = join(process.argv[2], "model")
mkdirSync(model)
const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 64,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  eos_token_id: 63
}
writeFileSync(join(model, "config.json"), JSON.stringify(config))
const { names, get } = randomTensors(decodeHuggingFace("config.json", config), 7)
await Effect.runPromise(
  writeSafetensors(
    join(model, "model.safetensors"),
    names.map((name) => get(name))
  )
)
const data = join(process.argv[2], "rows.jsonl")
const row = (i) => JSON.stringify({ input_ids: Array.from({ length: 16 }, (_, t) => (3 * t + i) % 60) })
writeFileSync(data, Array.from({ length: 12 }, (_, i) => row(i)).join("\n"))

// Load, 3 steps, save: by the command.
const out = join(process.argv[2], "adapter")
const backend = existsSync(nativePath()) ? "cpu" : "reference"
const flags = ["--model", model, "--data", data, "--out", out, "--backend", backend, "--compute", "f32"]
const code = await runGraft(["train", ...flags, "--steps", "3", "--batch-size", "4", "--learning-rate", "1e-2"])
assert.equal(code, 0)
const wanted = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "metrics.jsonl",
  "recipe.yaml",
  "report.html",
  "state"
]
assert.deepEqual(readdirSync(out).sort(), wanted)
const losses = readFileSync(join(out, "metrics.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line).loss)
assert.equal(losses.length, 3)
assert.ok(losses.every(Number.isFinite) && losses[2] < losses[0], `${losses}`)
assert.equal(
  await runGraft(["generate", "--model", model, "--adapter", out, "--ids", "1,4", "-n", "4", "--backend", backend]),
  0
)

// The same rows by TensorFlow.js in WebAssembly: the same losses.
const tfjs = ["--model", model, "--data", data, "--out", join(process.argv[2], "tfjs"), "--backend", "tfjs"]
assert.equal(await runGraft(["train", ...tfjs, "--steps", "3", "--batch-size", "4", "--learning-rate", "1e-2"]), 0)
for (const [i, line] of readFileSync(join(process.argv[2], "tfjs/metrics.jsonl"), "utf8")
  .trim()
  .split("\n")
  .entries()) {
  const { loss } = JSON.parse(line)
  assert.ok(Math.abs(loss - losses[i]) <= 1e-4 * losses[i], `step ${i + 1}: ${loss} by TensorFlow.js, ${losses[i]}`)
}
assert.equal(await runGraft(["train", ...flags, "--stps", "3"]), 1)

// Generate: by the packages.
const stack = Lora.layerFrom(out).pipe(
  Layer.provideMerge(LlamaLoader.layer(model)),
  Layer.provide(Dense.layer),
  Layer.provideMerge(backend === "cpu" ? Cpu.layer({ threads: 1 }) : Reference.layer)
)
const text = Effect.gen(function* () {
  const device = yield* Backend
  const { load } = yield* ModelLoader
  const { plan: adapter } = yield* Adapter
  const { overrides } = yield* Kernels
  const engine = { compute: "f32", overrides }
  const assembly = { load, adapter }
  const prompt = [1, 4, 7]
  const queue = yield* device.open(planGeneration(device.limits, assembly, engine, prompt.length, 11).arenaBytes)
  const scope = new Scope(queue, "weights")
  const { model: loaded } = loadAtOnce(assemble(queue, scope, assembly))
  return yield* Effect.promise(async () => {
    const ids = []
    const options = { ...greedy, maxNewTokens: 8, stopIds: [63] }
    for await (const id of generate(queue, loaded, engine, prompt, options)) ids.push(id)
    scope[Symbol.dispose]()
    return ids
  })
})
const ids = await Effect.runPromise(text.pipe(Effect.provide(stack), Effect.scoped))
assert.ok(ids.length > 0 && ids.every((id) => id >= 0 && id < 64), `${ids}`)
console.log(`${backend}: losses ${losses.map((loss) => loss.toFixed(6)).join(", ")}; text ${ids.join(" ")}`)
