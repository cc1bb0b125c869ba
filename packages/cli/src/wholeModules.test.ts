/**
 * Embedding and head trained whole beside an adapter, against PEFT's modules_to_save (fixtures/make_tiny_whole.py): what a
 * saved one computes, what SGD makes of it, and what is saved again.
 */
import assert from "node:assert/strict"
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf, integersIn } from "./goldenSets.ts"

const TIMEOUT = { timeout: 120_000 }
const folder = temporaryFolder()
const device = ["--backend", backends.at(-1)!, "--compute", "f32"]

let count = 0
const logitsOf = async (set: string, ...flags: ReadonlyArray<string>): Promise<Float32Array> => {
  const out = join(folder, `logits-${count++}.safetensors`)
  const ids = join(fixtures, set, "logits.safetensors")
  await graftOk("logits", "--ids", ids, "--out", out, ...device, ...flags)
  return (await floatsOf(out)).get("logits")!
}
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"))
const configOf = (adapter: string) =>
  readJson(join(adapter, "adapter_config.json")) as Readonly<Record<string, unknown>> // just written

for (const [set, base, names] of [
  ["tiny-whole", "tiny-llama", "embed_tokens,lm_head"],
  ["tiny-whole-tied", "tiny-bpe", "embed_tokens"],
  ["tiny-whole-tokens", "tiny-bpe", "embed_tokens"]
] as const) {
  const [adapter, model] = [join(fixtures, set), join(fixtures, base)]
  test(`${set}: PEFT's logits, before and after training, and merged`, TIMEOUT, async () => {
    const golden = await floatsOf(join(adapter, "logits.safetensors"))
    const { values: ids } = await integersIn(join(adapter, "logits.safetensors"), "input_ids")
    assert.ok(distance(await logitsOf(set, "--model", model, "--adapter", adapter), golden.get("logits")!) <= 1e-5)
    const rows = join(folder, `${set}.jsonl`)
    writeFileSync(rows, JSON.stringify({ input_ids: ids, labels: ids }))
    const out = join(folder, set)
    const sgd = ["--optimizer", "sgd", "--momentum", "0", "--lr", "0.5", "--max-grad-norm", "0", "--steps", "3"]
    const start = ["--adapter", adapter, "--modules-to-save", names]
    await graftOk("train", "--model", model, "--data", rows, "--out", out, ...start, ...sgd, ...device)
    const wanted = golden.get("logits_trained")!
    assert.ok(distance(golden.get("logits")!, wanted) > 1e-2, "training does something")
    assert.ok(distance(await logitsOf(set, "--model", model, "--adapter", out), wanted) <= 1e-5)
    const tensors = await floatsOf(join(out, "adapter_model.safetensors"))
    assert.deepEqual(
      [...tensors.keys()].sort(),
      // PEFT saves copies of what was resized, which it does not load.
      [...(await floatsOf(join(adapter, "adapter_model.safetensors"))).keys()]
        .filter((key) => !/(modules_to_save|original_module)\.weight$/.test(key))
        .sort()
    )
    const { modules_to_save, ensure_weight_tying } = configOf(out)
    assert.deepEqual([modules_to_save, ensure_weight_tying], [names.split(","), base === "tiny-bpe"])
    const merged = join(folder, `${set}-merged`)
    await graftOk("merge", "--model", model, "--adapter", out, "--out", merged, "--dtype", "f32", ...device.slice(0, 2))
    assert.ok(distance(await logitsOf(set, "--model", merged), wanted) <= 1e-5)
    if (set === "tiny-whole-tokens")
      for (const made of [out, merged]) {
        const { added_tokens } = readJson(join(made, "tokenizer.json")) as { readonly added_tokens: Array<object> } // PEFT's
        assert.equal(added_tokens.length, 6, made)
      }
    const asBase = join(folder, `${set}-as-base`)
    await graftOk("merge", "--model", model, "--adapter", out, "--out", asBase, ...device.slice(0, 2))
    const kept = await Effect.runPromise(
      Effect.scoped(
        Effect.map(openSafetensors(join(asBase, "model.safetensors")), (f) =>
          [...f.tensors.values()].map((t) => t.dtype)
        )
      )
    )
    assert.deepEqual(new Set(kept), new Set(["BF16"]))
  })
}

test("what cannot be trained whole, or fits no model, is refused by name", TIMEOUT, async () => {
  const rows = join(folder, "few.jsonl")
  writeFileSync(rows, JSON.stringify({ input_ids: [1, 2, 3], labels: [1, 2, 3] }))
  const train = (base: string, ...flags: ReadonlyArray<string>) =>
    graft("train", "--model", join(fixtures, base), "--data", rows, "--out", join(folder, "no"), ...device, ...flags)
  const untied = join(folder, "untied")
  mkdirSync(untied)
  copyFileSync(join(fixtures, "tiny-whole/adapter_model.safetensors"), join(untied, "adapter_model.safetensors"))
  writeFileSync(
    join(untied, "adapter_config.json"),
    JSON.stringify({ ...configOf(join(fixtures, "tiny-whole")), modules_to_save: ["embed_tokens"] })
  )
  const cases = [
    [
      ["tiny-llama", "--modules-to-save", "q_proj"],
      /q_proj, a linear, which an adapter trains; .*embed_tokens and lm_head/
    ],
    [["tiny-llama", "--modules-to-save", "norm"], /names norm; Graft trains embed_tokens and lm_head whole/],
    [["tiny-bpe", "--modules-to-save", "lm_head"], /is the embedding itself; name embed_tokens/],
    [["tiny-llama", "--modules-to-save", "lm_head", "--full"], /--modules-to-save is of an adapter/],
    [
      ["tiny-llama", "--modules-to-save", "lm_head", "--sweep", "lr=1e-4,2e-4"],
      /one frozen base, and --modules-to-save/
    ],
    [
      ["tiny-llama", "--adapter", join(fixtures, "tiny-whole"), "--sweep", "lr=1e-4,2e-4"],
      /trains embed_tokens,lm_head of it/
    ],
    [
      ["tiny-llama", "--adapter", join(fixtures, "tiny-whole"), "--modules-to-save", "lm_head"],
      /asks for lm_head, and the adapter has embed_tokens,lm_head/
    ],
    [
      ["tiny-bpe", "--adapter", join(fixtures, "tiny-whole")],
      /model\.embed_tokens\.weight has 16384 elements, wanted \[512, 64\]/
    ],
    [["tiny-llama", "--adapter", untied], /lm_head\.weight belongs to nothing that it trains/]
  ] as const
  for (const [[base, ...flags], said] of cases) {
    const { code, stderr } = await train(base, ...flags)
    assert.equal(code, 1, flags.join(" "))
    assert.match(stderr, said)
  }
  const out = join(folder, "whole.gguf")
  const whole = join(fixtures, "tiny-whole")
  const gguf = ["--model", join(fixtures, "tiny-llama"), "--adapter", whole, "--format", "gguf", "--out", out]
  const { code, stderr } = await graft("export", ...gguf)
  assert.equal(code, 1)
  assert.match(stderr, /a GGUF adapter holds linears only/)
})
