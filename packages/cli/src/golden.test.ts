/** The command against PyTorch and PEFT: logits, gradients, and a training curve of 20 steps. */
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { backends, graftOk, jsonLines, temporaryFolder } from "./commandUnderTest.ts"
import { gradientsOf } from "./goldenGradients.ts"
import { distance, floatsOf, type GoldenSet, goldenSets, integersIn } from "./goldenSets.ts"

const folder = temporaryFolder()
const TIMEOUT = { timeout: 240_000 }

const logitsOf = async (set: GoldenSet, backend: string, adapter?: string): Promise<Float32Array> => {
  const out = join(folder, `${set.name}-${backend}-${adapter ?? "base"}.safetensors`)
  const model = ["--model", set.at("tiny-llama"), "--ids", set.at("tiny-llama/logits.safetensors"), "--out", out]
  const with_ = adapter === undefined ? [] : ["--adapter", set.at(adapter)]
  await graftOk("logits", ...model, ...with_, "--backend", backend, "--compute", "f32")
  return (await floatsOf(out)).get("logits")!
}

for (const set of goldenSets) {
  for (const backend of backends) {
    test(`${set.name}, ${backend}: logits within 1e-5 of the largest`, TIMEOUT, async () => {
      const wanted = (await floatsOf(set.at("tiny-llama/logits.safetensors"))).get("logits")!
      const off = distance(await logitsOf(set, backend), wanted)
      assert.ok(off <= 1e-5, `${off}`)
    })
    for (const adapter of ["peft-lora", "peft-rslora", "peft-dora"]) {
      test(`${set.name}, ${backend}: logits with ${adapter} within 1e-5 of the largest`, TIMEOUT, async () => {
        const file = await floatsOf(set.at(`${adapter}/logits.safetensors`))
        const wanted = file.get("logits") ?? file.get("logits_over_f32")
        assert.ok(wanted !== undefined)
        const off = distance(await logitsOf(set, backend, adapter), wanted)
        assert.ok(off <= 1e-5, `${off}`)
      })
      test(`${set.name}, ${backend}: gradients of ${adapter} within 1e-4 of the largest`, TIMEOUT, async () => {
        const gradients = await gradientsOf(
          { model: set.at("tiny-llama"), ids: set.at("tiny-llama/logits.safetensors"), adapter: set.at(adapter) },
          backend
        )
        const wanted = await floatsOf(set.at(`${adapter}/grads.safetensors`))
        const plain = [...wanted].filter(([name]) => !name.startsWith("nf4."))
        assert.equal(gradients.size, plain.length)
        for (const [name, values] of plain) {
          const parameter = name.replace(/^f32\./, "").replace(/\.weight$/, "")
          const off = distance(gradients.get(parameter)!, values)
          assert.ok(off <= 1e-4, `${parameter}: ${off}`)
        }
      })
    }
    test(`${set.name}, ${backend}: a curve of 20 steps, each loss and norm within 1e-4`, TIMEOUT, async () => {
      const { shape, values } = await integersIn(set.at("curve/batches.safetensors"), "batches")
      const rows = join(folder, `${set.name}.jsonl`)
      const length = shape[2]!
      const lines = Array.from({ length: values.length / length }, (_, i) => {
        const ids = values.slice(i * length, (i + 1) * length)
        return JSON.stringify({ input_ids: ids, labels: ids })
      })
      writeFileSync(rows, `${lines.join("\n")}\n`)
      const out = join(folder, `${set.name}-${backend}-curve`)
      const run = ["--model", set.at("tiny-llama"), "--data", rows, "--adapter", set.at("curve/adapter_init")]
      const how = ["--batch-size", "4", "--no-shuffle", "--learning-rate", "1e-3", "--weight-decay", "0.01"]
      const rest = ["--max-grad-norm", "0", "--steps", "20", "--backend", backend, "--compute", "f32", "--out", out]
      await graftOk("train", ...run, ...how, ...rest)

      const { lora_over_f32: wanted } = JSON.parse(readFileSync(set.at("curve/losses.json"), "utf8"))
      const metrics = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8"))
      assert.equal(metrics.length, 20)
      for (const [i, { step, loss, gradNorm, learningRate, tokens, tokensPerSecond }] of metrics.entries()) {
        assert.deepEqual([step, learningRate, tokens], [i + 1, 1e-3, 4 * length])
        assert.ok(Number(tokensPerSecond) > 0)
        const near = (got: unknown, want: number, what: string) =>
          assert.ok(Math.abs(Number(got) - want) <= 1e-4 * want, `step ${i + 1}: ${what} ${got}, wanted ${want}`)
        near(loss, wanted.losses[i], "loss")
        near(gradNorm, wanted.grad_norms[i], "gradient norm")
      }
      const trained = await floatsOf(join(out, "adapter_model.safetensors"))
      const final = await floatsOf(set.at("curve/final_f32/adapter_model.safetensors"))
      assert.deepEqual([...trained.keys()].sort(), [...final.keys()].sort())
      // AdamW divides by the root of a mean square: where gradients nearly vanish, rounding is blown up.
      for (const [name, values] of final) assert.ok(distance(trained.get(name)!, values) <= 2e-3, name)
    })
  }
}
