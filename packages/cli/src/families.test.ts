/**
 * Every family of models on every backend against transformers and PEFT, over tiny random models
 * (packages/llama-loader/scripts/goldenArchitectures.py): logits and gradients of a LoRA over all linears, and that LoRA as a
 * GGUF's, multiplied into the rows of the model's own GGUF.
 */
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import {
  type AdapterPlan,
  assemble,
  denseCodec,
  loadAtOnce,
  noAdapter,
  ReferenceQueue,
  Scope,
  widen
} from "@graft/core"
import { type GgufFile, openGguf } from "@graft/gguf"
import {
  architectures,
  describeLlama,
  eachLogits,
  ggufConfig,
  ggufTensors,
  type LlamaSource,
  loadLlama,
  openModel
} from "@graft/llama-loader"
import { loraPlan, readAdapter } from "@graft/lora"
import { Effect } from "effect"
import { backends, graftOk, root, temporaryFolder } from "./commandUnderTest.ts"
import { gradientsOf } from "./goldenGradients.ts"
import { distance, floatsOf, integersIn } from "./goldenSets.ts"
import { type GgufAdapter, ggufAdapter } from "./stack/ggufAdapter.ts"

const TIMEOUT = { timeout: 240_000 }
const temporary = temporaryFolder()
const families = Object.keys(architectures).filter((family) => family !== "llama")
const folderOf = (family: string): string => join(root, "packages/llama-loader/fixtures/architectures", family)
const idsOf = async (family: string) =>
  (await integersIn(join(folderOf(family), "golden.safetensors"), "input_ids")).values

type Source = Pick<LlamaSource, "config" | "tensors">
/** Logits of one sequence on the reference backend, where nothing but the arithmetic is in question. */
const logitsOf = async ({ config, tensors }: Source, ids: ReadonlyArray<number>, adapter: AdapterPlan) => {
  const queue = new ReferenceQueue([1 << 24])
  const description = describeLlama(config, "model")
  const source = { config, tensors, description, codec: denseCodec(), denseDtype: "f32", skip: () => false } as const
  const load = (...[q, s, trained]: [ReferenceQueue, Scope, (path: string) => boolean]) =>
    loadLlama(source, q, s, trained)
  const recipe = { load: load as Parameters<typeof assemble>[2]["load"], adapter } // the queue is the one above
  const { model } = loadAtOnce(assemble(queue, new Scope(queue, "weights"), recipe))
  const all: Array<number> = []
  await eachLogits(queue, model, ids, { compute: "f32", overrides: new Map() }, (logits) => {
    all.push(...logits)
  })
  await queue.close()
  return Float32Array.from(all)
}

/** As llama.cpp computes: each matrix of the base plus alpha / rank times B·A, in the file's own names and row order. */
const merged = (base: GgufFile, { metadata, tensors }: GgufAdapter): GgufFile => {
  const alpha = Number(metadata["adapter.lora.alpha"]?.value)
  const added = new Map(tensors.map((t) => [t.name, t]))
  const f32 = [...base.tensors.values()].find(({ type }) => type.name === "F32")!.type
  let used = 0
  const all = [...base.tensors].map(([name, tensor]) => {
    const [a, b] = [added.get(`${name}.lora_a`), added.get(`${name}.lora_b`)]
    if (a === undefined || b === undefined) return [name, tensor] as const
    used += 2
    const [out, inner] = tensor.shape as [number, number] // an adapter is over matrices
    const rank = a.shape[0]!
    assert.deepEqual(
      [a.shape, b.shape],
      [
        [rank, inner],
        [out, rank]
      ],
      name
    )
    const w = widen(tensor.read(), "bf16")
    const [av, bv] = [a, b].map(({ bytes }) => widen(bytes instanceof Uint8Array ? bytes : bytes.read(), "f32")) as [
      Float32Array,
      Float32Array
    ] // of two
    for (let o = 0; o < out; o++)
      for (let i = 0; i < inner; i++) {
        let sum = 0
        for (let r = 0; r < rank; r++) sum += bv[o * rank + r]! * av[r * inner + i]!
        w[o * inner + i]! += (alpha / rank) * sum
      }
    const bytes = new Uint8Array(w.buffer)
    return [name, { ...tensor, type: f32, bytes: bytes.byteLength, read: () => bytes }] as const
  })
  assert.equal(used, tensors.length, "each part of the adapter has a matrix of the base")
  return { ...base, tensors: new Map(all) }
}

for (const family of families) {
  const folder = folderOf(family)
  const adapter = join(folder, "adapter")

  for (const backend of backends) {
    test(
      `${family}, ${backend}: gradients of PEFT's LoRA over all linears within 1e-4 of the largest`,
      TIMEOUT,
      async () => {
        const run = { model: folder, ids: join(folder, "golden.safetensors"), adapter }
        const gradients = await gradientsOf(run, backend)
        const wanted = await floatsOf(join(adapter, "grads.safetensors"))
        assert.equal(gradients.size, wanted.size)
        for (const [name, values] of wanted) {
          const parameter = name.replace(/^base_model\.model\./, "").replace(/\.weight$/, "")
          const off = distance(gradients.get(parameter)!, values)
          assert.ok(off <= 1e-4, `${parameter}: ${off}`)
        }
      }
    )
  }

  test(`${family}: PEFT's LoRA, here and as a GGUF's`, TIMEOUT, () =>
    Effect.gen(function* () {
      const { ids, wanted } = yield* Effect.promise(async () => ({
        ids: await idsOf(family),
        wanted: (await floatsOf(join(folder, "golden.safetensors"))).get("adapter.logits")!
      }))
      const model = yield* openModel(folder)
      const saved = yield* readAdapter(adapter)
      const plan = loraPlan(saved.options, saved.values)
      const here = yield* Effect.promise(() => logitsOf(model, ids, plan))
      assert.ok(distance(here, wanted) <= 1e-5, `${distance(here, wanted)}`)

      const gguf = yield* openModel(join(folder, "model.gguf"))
      const file = merged(yield* openGguf(join(folder, "model.gguf")), yield* ggufAdapter(saved, adapter, gguf))
      const config = ggufConfig(file)
      const there = yield* Effect.promise(() =>
        logitsOf({ config, tensors: ggufTensors(file, config) }, ids, noAdapter)
      )
      // A Mistral's GGUF has no window.
      const beside = family === "mistral" ? yield* Effect.promise(() => logitsOf(gguf, ids, plan)) : wanted
      assert.ok(distance(there, beside) <= 1e-5, `${distance(there, beside)}`)
    }).pipe(Effect.scoped, Effect.runPromise)
  )
}

for (const family of ["phi3", "gemma3", "smollm3"]) {
  test(`${family}: layers and attention computed anew, or not, give gradients of the same bits`, TIMEOUT, async () => {
    const folder = folderOf(family)
    const run = { model: folder, ids: join(folder, "golden.safetensors"), adapter: join(folder, "adapter") }
    const backend = backends.at(-1)!
    const kept = await gradientsOf(run, backend)
    for (const recomputed of [
      { checkpointing: true },
      { checkpointing: true, attentionAgain: 0 },
      { checkpointing: 2, attentionAgain: 1 },
      { checkpointing: 1, attentionAgain: 2 },
      { checkpointing: 0, attentionAgain: 99 }
    ])
      assert.deepEqual(await gradientsOf({ ...run, ...recomputed }, backend), kept, JSON.stringify(recomputed))
  })
}

for (const family of ["qwen2", "gemma3"]) {
  test(
    `${family}: gradients of biases and norms, where all is trained, within 1e-4 of the largest`,
    TIMEOUT,
    async () => {
      const folder = folderOf(family)
      const run = { model: folder, ids: join(folder, "golden.safetensors") }
      const gradients = await gradientsOf(run, backends.at(-1)!)
      const wanted = await floatsOf(join(folder, "vectors.safetensors"))
      assert.ok(wanted.size > 5)
      for (const [name, values] of wanted) {
        const off = distance(gradients.get(name)!, values)
        assert.ok(off <= 1e-4, `${name}: ${off}`)
      }
    }
  )
}

const device = ["--backend", backends.at(-1)!]
for (const [family, ...targets] of [["phi3", "qkv_proj,gate_up_proj"], ["gemma2"], ["qwen2"]] as const) {
  test(`${family}: planned, trained on 4 bits, used and merged by the command`, TIMEOUT, async () => {
    const folder = folderOf(family)
    const ids = await idsOf(family)
    const rows = join(temporary, `${family}.jsonl`)
    writeFileSync(rows, JSON.stringify({ input_ids: ids, labels: ids }))
    const [out, whole] = [join(temporary, family), join(temporary, `${family}-merged`)]
    const where = ["--model", folder, ...device]
    const how = targets.length === 0 ? ["--target", "all-linear"] : ["--target", targets[0]!]
    const rest = ["--data", rows, "--rank", "4", "--lr", "2e-2", "--compute", "f32", ...how]
    await graftOk("train", ...where, ...rest, "--steps", "3", "--quantize", "nf4", "--out", out)
    const logits = async (name: string, ...flags: ReadonlyArray<string>) => {
      const path = join(temporary, `${family}-${name}.safetensors`)
      const input = ["--ids", join(folder, "golden.safetensors"), "--out", path, "--compute", "f32"]
      await graftOk("logits", ...input, ...device, ...flags)
      return (await floatsOf(path)).get("logits")!
    }
    await graftOk("merge", ...where, "--adapter", out, "--out", whole, "--dtype", "f32")
    const wanted = await logits("with", "--model", folder, "--adapter", out)
    assert.ok(distance(await logits("without", "--model", folder), wanted) > 1e-2, "the adapter does something")
    assert.ok(distance(await logits("merged", "--model", whole), wanted) <= 1e-4)
    // What is not said anew keeps its spelling: transformers takes a soft cap of 3.0 and refuses 3.
    const spelt = (at: string) => {
      const lines = readFileSync(join(at, "config.json"), "utf8").split("\n")
      return lines.map((line) => line.replace(/,$/, "")).filter((line) => !/dtype/.test(line))
    }
    assert.deepEqual(spelt(whole), spelt(folder))
  })
}
