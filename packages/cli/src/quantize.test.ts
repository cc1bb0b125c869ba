/** Weights in 4 bits by flag, and as a checkpoint already has them. */
import assert from "node:assert/strict"
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { backends, fixtures, graft, graftOk, jsonLines, root, temporaryFolder } from "./commandUnderTest.ts"
import { goldenSets } from "./goldenSets.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const backend = backends.at(-1)!
const TIMEOUT = { timeout: 60_000 }
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(join(root, "examples/data/jargon.jsonl"), "utf8").split("\n").slice(0, 12).join("\n"))
const run = ["--model", model, "--data", rows, "--backend", backend, "--compute", "f32", "--max-length", "48"]

const weightBytes = async (...flags: ReadonlyArray<string>): Promise<number> => {
  const events = jsonLines(await graftOk("plan", ...run, "--json", ...flags))
  const { memory } = events.find(({ event }) => event === "Plan") as { memory: { byCategory: { weights: number } } } // as planned
  return memory.byCategory.weights
}

test(
  "--quantize nf4 trains an adapter over 4-bit weights, and the plan says how much smaller they are",
  TIMEOUT,
  async () => {
    const [dense, plain, double] = [
      await weightBytes(),
      await weightBytes("--quantize", "nf4"),
      await weightBytes("--quantize", "nf4", "--double-quant")
    ]
    assert.ok(plain < dense && double < plain, `${dense}, ${plain}, ${double}`)
    const out = join(folder, "qlora")
    const how = ["--quantize", "nf4", "--double-quant", "--steps", "6", "--batch-size", "4", "--lr", "1e-2"]
    await graftOk("train", ...run, ...how, "--out", out)
    const losses = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8")).map(({ loss }) => Number(loss))
    assert.ok(losses.at(-1)! < losses[0]! - 0.1, `${losses}`)
    const text = await graftOk(
      "generate",
      "--model",
      model,
      "--adapter",
      out,
      "--quantize",
      "nf4",
      "--double-quant",
      "--prompt",
      "What",
      "-n",
      "3",
      "--backend",
      backend,
      "--json"
    )
    assert.equal(jsonLines(text)[0]!.event, "Generated")
  }
)

test("--skip leaves linears dense, --block-size changes the scales", TIMEOUT, async () => {
  const all = await weightBytes("--quantize", "nf4")
  assert.ok((await weightBytes("--quantize", "nf4", "--skip", "down_proj,q_proj")) > all)
  assert.ok((await weightBytes("--quantize", "nf4", "--block-size", "128")) < all)
})

test("flags that quantisation does not know, or that have no effect, are refused", TIMEOUT, async () => {
  const refused = async (wanted: RegExp, ...flags: ReadonlyArray<string>) => {
    const { code, stderr } = await graft("plan", ...run, ...flags)
    assert.equal(code, 1)
    assert.match(stderr, wanted)
  }
  await refused(/--double-quant, --skip have no effect without --quantize/, "--double-quant", "--skip", "q_proj")
  await refused(/--block-size is 48; expected one of 32, 64/, "--quantize", "nf4", "--block-size", "48")
  await refused(/--skip: no linear of .* is called x_proj; there are q_proj/, "--quantize", "nf4", "--skip", "x_proj")
  await refused(/full training .* needs dense weights/, "--quantize", "nf4", "--full")
})

for (const set of goldenSets) {
  test(
    `${set.name}: a bitsandbytes checkpoint and the same model quantised while loading have equal bits`,
    TIMEOUT,
    async () => {
      const logits = async (name: string, ...flags: ReadonlyArray<string>) => {
        const out = join(folder, `${set.name}-${name}.safetensors`)
        const ids = ["--ids", set.at("tiny-llama/logits.safetensors"), "--backend", backend, "--compute", "f32"]
        await graftOk("logits", ...flags, ...ids, "--out", out)
        return readFileSync(out)
      }
      const stored = await logits("stored", "--model", set.at("tiny-llama-nf4"))
      const made = await logits("made", "--model", set.at("tiny-llama"), "--quantize", "nf4", "--double-quant")
      assert.deepEqual(made, stored)
      const other = await graft("plan", "--model", set.at("tiny-llama-nf4"), "--data", rows, "--quantize", "fp4")
      assert.match(
        other.stderr,
        /is stored as nf4 with double quantisation, and --quantize fp4 asks for something else/
      )
    }
  )

  test(
    `${set.name}: a quant_state of another shape than the model's is refused before weights are read`,
    TIMEOUT,
    async () => {
      const bad = join(folder, `${set.name}-shape`)
      cpSync(set.at("tiny-llama-nf4"), bad, { recursive: true })
      const path = join(bad, "model.safetensors")
      const bytes = readFileSync(path)
      const at = bytes.indexOf('"shape": [352, 128]')
      bytes.set(new TextEncoder().encode('"shape": [128, 352]'), at)
      rmSync(path)
      writeFileSync(path, bytes)
      const { code, stderr } = await graft("generate", "--model", bad, "--ids", "1,2", "--backend", backend)
      assert.equal(code, 1)
      assert.match(stderr, /gate_proj\.weight is \[128, 352\], wanted \[352, 128\]/)
    }
  )
}
