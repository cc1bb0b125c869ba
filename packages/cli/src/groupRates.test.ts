/** Groups of parameters with learning rates of their own, as flags give them. */
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { widen } from "@graft/core"
import { openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, root, temporaryFolder } from "./commandUnderTest.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(join(root, "examples/data/jargon.jsonl"), "utf8").split("\n").slice(0, 8).join("\n"))
const fixed = ["--backend", backends.at(-1)!, "--compute", "f32", "--max-length", "32", "--steps", "2"]
const base = ["--model", model, "--data", rows, ...fixed, "--batch-size", "4", "--learning-rate", "1e-3"]
const valuesOf = (file: string): Promise<ReadonlyMap<string, Float32Array>> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(
        openSafetensors(join(file, "model.safetensors")),
        ({ tensors }) =>
          new Map([...tensors.values()].map((t) => [t.name, widen(t.read(), t.dtype === "BF16" ? "bf16" : "f32")]))
      )
    )
  )
const TIMEOUT = { timeout: 120_000 }

test("the embedding stays where its group's rate is 0, norms and linears move", TIMEOUT, async () => {
  const out = join(folder, "full")
  await graftOk("train", ...base, "--full", "--out", out, "--group-learning-rate", "embedding=0")
  const [before, after] = [await valuesOf(model), await valuesOf(out)]
  for (const [name, values] of after) {
    assert.equal(values.length, before.get(name)!.length, name)
    const isEmbedding = name === "model.embed_tokens.weight" || name === "lm_head.weight"
    const equal = values.every((value, i) => value === before.get(name)![i])
    assert.equal(equal, isEmbedding, name)
  }
})
test("a rate for lora_B is LoRA+'s ratio by another name", TIMEOUT, async () => {
  const [named, ratio] = [join(folder, "named"), join(folder, "ratio")]
  await graftOk("train", ...base, "--out", named, "--group-learning-rate", "lora_B=4e-3")
  await graftOk("train", ...base, "--out", ratio, "--lora-plus-ratio", "4")
  const bytesOf = (out: string) => readFileSync(join(out, "adapter_model.safetensors"))
  assert.deepEqual(bytesOf(named), bytesOf(ratio))
})
test("a group that is not trained, a rate that is none", TIMEOUT, async () => {
  for (const [pair, message] of [
    ["norm=1e-4", /group norm, but nothing of it is trained; there are lora_A, lora_B/],
    ["lora_B=fast", /--group-learning-rate lora_B=fast: a rate is a number/]
  ] as const) {
    const { code, stderr } = await graft(
      "train",
      ...base,
      "--out",
      join(folder, "refused"),
      "--group-learning-rate",
      pair
    )
    assert.notEqual(code, 0)
    assert.match(stderr, message)
  }
})
