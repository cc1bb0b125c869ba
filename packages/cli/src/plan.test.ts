/** A plan from shapes alone is the plan of the run: the same bytes as with weights and rows there. */
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { backends, fixtures, graft, graftOk, jsonLines, temporaryFolder } from "./commandUnderTest.ts"

const TIMEOUT = { timeout: 120_000 }
const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const backend = ["--backend", backends.at(-1)!]

const planOf = async (...args: ReadonlyArray<string>) => {
  const plan = jsonLines(await graftOk("plan", ...args, ...backend, "--json")).find(({ event }) => event === "Plan")
  return plan?.memory as { peakBytes: number; byCategory: Record<string, number> } // what --json says of a plan
}

test("config.json and a length plan as the folder and rows of that length do", TIMEOUT, async () => {
  const rows = join(folder, "rows.jsonl")
  const ids = Array.from({ length: 24 }, (_, i) => 5 + i)
  writeFileSync(rows, `${JSON.stringify({ input_ids: ids })}\n`.repeat(4))
  const flags = ["--batch-size", "2", "--rank", "4", "--quantize", "nf4", "--double-quant", "--compute", "f32"]
  const alone = await planOf("--model", join(model, "config.json"), "--tokens", "24", ...flags)
  const whole = await planOf("--model", model, "--data", rows, ...flags)
  assert.ok(alone.peakBytes > 0)
  assert.deepEqual(alone, whole)
})

test("Llama-2-7b as QLoRA with 512 tokens, all layers recomputed, fits into 4.7 GB", TIMEOUT, async () => {
  const flags = [
    "--batch-size",
    "1",
    "--quantize",
    "nf4",
    "--double-quant",
    "--checkpointing",
    "--optimizer",
    "adamw-8bit"
  ]
  const { peakBytes, byCategory } = await planOf(
    "--model",
    "llama-2-7b",
    "--tokens",
    "512",
    ...flags,
    "--compute",
    "bf16"
  )
  assert.ok(peakBytes < 4.7e9, String(peakBytes))
  const linears = 32 * (4 * 4096 ** 2 + 3 * 4096 * 11008)
  const dense = 2 * 2 * 32000 * 4096 + 2 * 65 * 4096
  // 4.127 bits a weight of the linears, 16 of the rest; some kilobytes of tables.
  assert.ok(Math.abs((byCategory.weights ?? 0) - (linears * 4.127) / 8 - dense) < 2e6)
})

test("a plan without rows or their length, or with more tokens than positions, is refused", TIMEOUT, async () => {
  assert.match((await graft("plan", "--model", model)).stderr, /--data is missing; or say with --tokens/)
  const { max_position_embeddings: positions } = JSON.parse(readFileSync(join(model, "config.json"), "utf8")) as {
    max_position_embeddings: number
  } // the fixture's own
  assert.match(
    (await graft("plan", "--model", model, "--tokens", String(positions + 1))).stderr,
    new RegExp(`has ${positions} positions`)
  )
  assert.match((await graft("plan", "--model", join(folder, "none.json"), "--tokens", "8")).stderr, /none\.json/)
})
