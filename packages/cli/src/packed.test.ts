/** Training, logits and plans over a GGUF's own blocks, embedding and head among them. */
import assert from "node:assert/strict"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { int64Bytes, writeSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, jsonLines, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf } from "./goldenSets.ts"
import { VOCABULARY, writeTinyGguf } from "./tinyGguf.ts"

const folder = temporaryFolder()
const TIMEOUT = { timeout: 240_000 }
const model = join(folder, "tiny.gguf")
const size = writeTinyGguf(model)
const ids = Array.from({ length: 40 }, (_, i) => (i * 7 + (i >> 2)) % VOCABULARY)
const idsFile = join(folder, "ids.safetensors")
await Effect.runPromise(
  writeSafetensors(idsFile, [{ name: "input_ids", dtype: "I64", shape: [2, 20], read: () => int64Bytes(ids) }])
)
const rows = join(folder, "rows.jsonl")
writeFileSync(
  rows,
  Array.from({ length: 8 }, (_, r) =>
    JSON.stringify({ input_ids: ids.slice(r, r + 16), labels: ids.slice(r, r + 16) })
  ).join("\n")
)
let count = 0
const logitsOf = async (...flags: ReadonlyArray<string>): Promise<Float32Array> => {
  const out = join(folder, `logits-${count++}.safetensors`)
  await graftOk("logits", "--ids", idsFile, "--out", out, "--compute", "f32", ...flags)
  return (await floatsOf(out)).get("logits")!
}
const data = ["--model", model, "--data", rows, "--compute", "f32"]

for (const backend of backends) {
  test(
    `${backend}: logits over packed blocks are those over the dense matrices, within rounding`,
    TIMEOUT,
    async () => {
      for (const path of [model, ...["q8_0", "q4_0", "q4_1"].map((name) => join(fixtures, `tiny-gguf/${name}.gguf`))]) {
        const packed = await logitsOf("--model", path, "--backend", backend)
        const dense = await logitsOf("--model", path, "--backend", backend, "--weights", "dense")
        assert.ok(packed.some((value) => Math.abs(value) > 1e-3))
        const off = distance(packed, dense)
        assert.ok(off <= 1e-5, `${path}: ${off}`)
      }
    }
  )
}

test(
  "the plan's weights are the file's bytes; an adapter trains over them, packed and dense alike",
  TIMEOUT,
  async () => {
    const planned = async (...flags: ReadonlyArray<string>) => {
      const [plan] = jsonLines(await graftOk("plan", ...data, ...flags, "--json")).filter(
        ({ event }) => event === "Plan"
      )
      return (plan!.memory as { byCategory: Record<string, number> }).byCategory.weights! // just printed
    }
    const weights = await planned()
    // Beside the file's tensors the inverse frequencies, and each of these is rounded up to 64 bytes.
    assert.ok(weights >= size.packed + size.dense && weights < size.packed + size.dense + 64 * 22, `${weights}`)
    assert.ok((await planned("--weights", "dense")) > 5 * weights)
    const losses = async (name: string, ...flags: ReadonlyArray<string>) => {
      const out = ["--out", join(folder, name), "--steps", "5", "--learning-rate", "1e-3"]
      const events = jsonLines(await graftOk("train", ...data, ...out, ...flags, "--json"))
      return events.filter(({ event }) => event === "Step").map(({ loss }) => Number(loss))
    }
    const packed = await losses("packed")
    const dense = await losses("dense", "--weights", "dense")
    assert.ok(packed.at(-1)! < packed[0]!, `${packed}`)
    assert.ok(
      packed.every((loss, i) => Math.abs(loss - dense[i]!) <= 1e-4 * loss),
      `${packed} ${dense}`
    )
  }
)

test("--weights where it has no meaning", TIMEOUT, async () => {
  const refused = async (message: RegExp, ...flags: ReadonlyArray<string>) => {
    const { code, stderr, stdout } = await graft("plan", "--data", rows, "--compute", "f32", ...flags)
    assert.notEqual(code, 0)
    assert.match(stderr + stdout, message)
  }
  await refused(
    /--weights packed keeps the blocks .* --quantize nf4 does not/,
    "--model",
    model,
    "--weights",
    "packed",
    "--quantize",
    "nf4"
  )
  await refused(/--skip has no effect without --quantize/, "--model", model, "--skip", "q_proj")
  const folderModel = join(fixtures, "tiny-bpe")
  await refused(/--weights dense is for a GGUF with quantised blocks/, "--model", folderModel, "--weights", "dense")
  await graftOk("plan", ...data, "--quantize", "nf4")
})
