/** A model with its adapter multiplied in predicts what the two of them did. */
import assert from "node:assert/strict"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { int64Bytes, writeSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf } from "./goldenSets.ts"

const folder = temporaryFolder()
const TIMEOUT = { timeout: 240_000 }
const device = ["--backend", backends.at(-1)!]
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
  await graftOk("logits", "--ids", idsFile, "--out", out, "--compute", "f32", ...device, ...flags)
  return (await floatsOf(out)).get("logits")!
}

for (const [name, model, ...flags] of [
  ["a folder with LoRA", "tiny-bpe"],
  ["a GGUF with rank-stabilised DoRA", "tiny-gguf/q8_0.gguf", "--dora", "--rslora", "--target", "q_proj,down_proj"]
] as const) {
  test(name, TIMEOUT, async () => {
    const path = join(fixtures, model)
    const [adapter, out] = [join(folder, `${count}-adapter`), join(folder, `${count}-merged`)]
    const how = ["--compute", "f32", "--steps", "4", "--lr", "2e-2", "--rank", "4", ...device]
    await graftOk("train", "--model", path, "--data", rows, "--out", adapter, ...how, ...flags)
    const said = await graftOk(
      "merge",
      "--model",
      path,
      "--adapter",
      adapter,
      "--out",
      out,
      "--dtype",
      "f32",
      ...device
    )
    assert.match(said, /: (?:14|4) linears merged, /)
    const wanted = await logitsOf("--model", path, "--adapter", adapter)
    assert.ok(distance(await logitsOf("--model", path), wanted) > 1e-2, "the adapter does something")
    assert.ok(distance(await logitsOf("--model", out), wanted) <= 1e-4)
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as { readonly dtype: string } // just written
    assert.equal(config.dtype, "float32")
    assert.equal(readdirSync(out).includes("tokenizer.json"), model === "tiny-bpe")
    const again = await graft("merge", "--model", path, "--adapter", adapter, "--out", out, ...device)
    assert.equal(again.code, 1)
    assert.match(again.stderr, /holds a model already/)
  })
}
