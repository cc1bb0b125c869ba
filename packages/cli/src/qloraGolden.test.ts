/**
 * 4-bit models against bitsandbytes and PEFT. The golden set was made on a machine with AVX-512, where bitsandbytes 0.50 counts
 * the scales of rows that hold no whole blocks by a rule of its own (nf4-quant, rowScales.ts): `--row-scales` follows it.
 */
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { ReferenceQueue, Scope } from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import { fourBitCodec, nf4, type RowScales } from "@graft/nf4-quant"
import { openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, graft, graftOk, jsonLines, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf, goldenSets, integersIn } from "./goldenSets.ts"

const folder = temporaryFolder()
const TIMEOUT = { timeout: 240_000 }
const rule = ["--row-scales", "bitsandbytes-avx512"]

for (const set of goldenSets) {
  test(`${set.name}: the first layer's linears, dequantised, bit for bit`, async () => {
    const wanted = await floatsOf(set.at("tiny-llama-nf4/dequantized-layer0.safetensors"))
    const dequantized = (rowScales: RowScales) =>
      Effect.runPromise(
        Effect.scoped(
          Effect.flatMap(openSafetensors(set.at("tiny-llama-nf4/model.safetensors")), (file) =>
            Effect.promise(async () => {
              const queue = new ReferenceQueue([1 << 24])
              const codec = fourBitCodec(nf4, doubleQuant, 64, rowScales)
              const found = new Map<string, Float32Array>()
              for (const name of wanted.keys()) {
                const scope = new Scope(queue, "weights")
                const weight = codec.adopt!(file, name.slice(0, -".weight".length), scope)!
                const all = scope.tensor([weight.outFeatures, weight.inFeatures], name)
                weight.dequantizeRows(all, 0)
                found.set(name, await queue.read(all))
              }
              return found
            })
          )
        )
      )
    const [flat, avx512] = [await dequantized("flat"), await dequantized("bitsandbytes-avx512")]
    assert.equal(wanted.size, 7)
    for (const [name, values] of wanted) {
      assert.deepEqual(avx512.get(name), values, name)
      const whole = !name.includes("down_proj")
      assert.equal(distance(flat.get(name)!, values) === 0, whole, `${name}: flat`)
    }
  })

  for (const backend of backends) {
    const device = ["--backend", backend, "--compute", "f32"]
    test(`${set.name}, ${backend}: logits, and with PEFT's LoRA, within 1e-5 of the largest`, TIMEOUT, async () => {
      const out = join(folder, `${set.name}-${backend}.safetensors`)
      const ids = ["--ids", set.at("tiny-llama/logits.safetensors"), "--out", out]
      for (const [file, key, flags] of [
        ["tiny-llama-nf4/logits.safetensors", "logits", []],
        ["peft-lora/logits.safetensors", "logits_over_nf4", ["--adapter", set.at("peft-lora")]]
      ] as const) {
        await graftOk("logits", "--model", set.at("tiny-llama-nf4"), ...ids, ...flags, ...rule, ...device)
        const wanted = (await floatsOf(set.at(file))).get(key)!
        const off = distance((await floatsOf(out)).get("logits")!, wanted)
        assert.ok(off <= 1e-5, `${key}: ${off}`)
      }
    })
    if (backend !== backends.at(-1)) continue // the slow one computes the same logits
    test(`${set.name}, ${backend}: QLoRA's curve of 20 steps, each loss and norm within 1e-4`, TIMEOUT, async () => {
      const { shape, values } = await integersIn(set.at("curve/batches.safetensors"), "batches")
      const length = shape[2]!
      const rows = join(folder, `${set.name}-${backend}.jsonl`)
      const lines = Array.from({ length: values.length / length }, (_, i) => {
        const ids = values.slice(i * length, (i + 1) * length)
        return JSON.stringify({ input_ids: ids, labels: ids })
      })
      writeFileSync(rows, `${lines.join("\n")}\n`)
      const out = join(folder, `${set.name}-${backend}-curve`)
      // Quantised while loading: the checkpoint's bits are the same, and the source is what a user has.
      const model = ["--model", set.at("tiny-llama"), "--quantize", "nf4", "--double-quant", ...rule]
      const run = ["--data", rows, "--adapter", set.at("curve/adapter_init"), "--batch-size", "4", "--no-shuffle"]
      const how = ["--learning-rate", "1e-3", "--weight-decay", "0.01", "--max-grad-norm", "0", "--steps", "20"]
      await graftOk("train", ...model, ...run, ...how, ...device, "--out", out)
      const { lora_over_nf4: wanted } = JSON.parse(readFileSync(set.at("curve/losses.json"), "utf8"))
      const metrics = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8"))
      assert.equal(metrics.length, 20)
      for (const [i, { loss, gradNorm }] of metrics.entries()) {
        const near = (got: unknown, want: number, what: string) =>
          assert.ok(Math.abs(Number(got) - want) <= 1e-4 * want, `step ${i + 1}: ${what} ${got}, wanted ${want}`)
        near(loss, wanted.losses[i], "loss")
        near(gradNorm, wanted.grad_norms[i], "gradient norm")
      }
    })
  }
}

test("--row-scales without 4-bit weights has no effect, and is refused", TIMEOUT, async () => {
  for (const set of goldenSets.slice(0, 1)) {
    const ids = ["--ids", set.at("tiny-llama/logits.safetensors"), "--out", join(folder, "x.safetensors")]
    const { code, stderr } = await graft("logits", "--model", set.at("tiny-llama"), ...ids, ...rule)
    assert.equal(code, 1)
    assert.match(stderr, /--row-scales has no effect without --quantize/)
  }
})
