/** `graft quantize`: bitsandbytes' bytes, runs that are killed, folders that are taken, models of every kind. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { narrow, widen } from "@graft/core"
import { openSafetensors, type TensorToWrite, writeSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, jsonLines, start, temporaryFolder } from "./commandUnderTest.ts"
import { goldenSets } from "./goldenSets.ts"
import type { FormatReport } from "./stack/quantizationReport.ts"

const folder = temporaryFolder()
const backend = backends.at(-1)!
const model = join(fixtures, "tiny-bpe")
const TIMEOUT = { timeout: 60_000 }
let made = 0
const fresh = (): string => join(folder, `${made++}`)
const on = ["--backend", backend]
const quantized = async (source: string, ...flags: ReadonlyArray<string>): Promise<string> => {
  const out = fresh()
  await graftOk("quantize", "--model", source, "--out", out, ...on, ...flags)
  return out
}
const readTensors = (path: string) =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(
        openSafetensors(path),
        ({ tensors }) => new Map([...tensors.values()].map((t) => [t.name, { ...t, bytes: t.read() }]))
      )
    )
  )

for (const set of goldenSets) {
  test(`${set.name}: weights and config are those that bitsandbytes and transformers write`, TIMEOUT, async () => {
    const out = await quantized(set.at("tiny-llama"))
    for (const name of ["model.safetensors", "config.json", "generation_config.json"])
      assert.deepEqual(readFileSync(join(out, name)), readFileSync(set.at(`tiny-llama-nf4/${name}`)), name)
    assert.deepEqual(readdirSync(out).sort(), [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "model.safetensors.sha256"
    ])
  })
}

test("what is written loads, with the logits of the same model quantised while loading", TIMEOUT, async () => {
  const ids = join(folder, "ids.safetensors")
  const row = Int32Array.from({ length: 16 }, (_, i) => i + 3)
  await Effect.runPromise(
    writeSafetensors(ids, [{ name: "input_ids", dtype: "I32", shape: [1, 16], read: () => new Uint8Array(row.buffer) }])
  )
  const logits = async (...flags: ReadonlyArray<string>) => {
    const out = `${fresh()}.safetensors`
    await graftOk("logits", "--ids", ids, "--out", out, "--compute", "f32", ...on, ...flags)
    return readFileSync(out)
  }
  for (const source of [model, join(model, "model.gguf")]) {
    const out = await quantized(source, "--quantize", "fp4", "--block-size", "32")
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"))
    assert.equal(config.quantization_config.bnb_4bit_quant_type, "fp4")
    assert.equal(existsSync(join(out, "tokenizer.json")), source === model)
    const stored = await logits("--model", out)
    const flags = ["--quantize", "fp4", "--double-quant", "--block-size", "32"]
    assert.deepEqual(stored, await logits("--model", source, ...flags))
  }
})

test("--dtype rounds first, --skip leaves linears, shards are read, and config says so", TIMEOUT, async () => {
  const out = await quantized(join(fixtures, "tiny-llama"), "--dtype", "f16", "--skip", "down_proj")
  const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"))
  assert.equal(config.torch_dtype ?? config.dtype, "float16")
  assert.deepEqual(config.quantization_config.llm_int8_skip_modules, ["lm_head", "down_proj"])
  const tensors = await readTensors(join(out, "model.safetensors"))
  assert.equal(tensors.get("model.layers.1.mlp.down_proj.weight")?.dtype, "F16")
  assert.equal(tensors.get("model.norm.weight")?.dtype, "F16")
  const state = tensors.get("model.layers.1.mlp.up_proj.weight.quant_state.bitsandbytes__nf4")!.bytes
  assert.match(
    new TextDecoder().decode(state),
    /^\{"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": /
  )
})

test("killed at any time, nothing looks whole; run again, it goes on to the same bytes", TIMEOUT, async () => {
  const wanted = await quantized(model)
  const out = fresh()
  let whole = false
  let kills = 0
  for (let progress = 1; !whole && kills < 6; progress += 2) {
    // At each time some lines later: of the plan, of the weights, of the writing.
    const args = ["quantize", "--model", model, "--out", out, ...on, "--json"]
    let killed = false
    const child = start(args, {
      onOutput: (text) => {
        if (text.split("\n").length - 1 < progress || killed) return
        killed = true
        child.signal("SIGKILL")
      }
    })
    const { code } = await child.outcome
    whole = code === 0
    if (whole) break
    kills++
    if (!existsSync(join(out, "config.json"))) {
      const refused = await graft("inspect", out)
      assert.equal(refused.code, 1, refused.stdout)
    } else {
      assert.deepEqual(readFileSync(join(out, "model.safetensors")), readFileSync(join(wanted, "model.safetensors")))
    }
  }
  assert.ok(kills > 0, "the run was too short to kill")
  const events = jsonLines(await graftOk("quantize", "--model", model, "--out", out, ...on, "--json"))
  if (!whole) assert.ok(events.some(({ event, reused }) => event === "Quantized" && reused === true))
  assert.deepEqual(readdirSync(out).sort(), readdirSync(wanted).sort())
  for (const name of readdirSync(wanted).filter((one) => !one.endsWith(".sha256"))) // it has the file's time
    assert.deepEqual(readFileSync(join(out, name)), readFileSync(join(wanted, name)), name)
})

test("a folder that holds a model, a run of other flags, a run at work: refused", TIMEOUT, async () => {
  const refused = async (wanted: RegExp, out: string, ...flags: ReadonlyArray<string>) => {
    const { code, stderr } = await graft("quantize", "--model", model, "--out", out, ...on, ...flags)
    assert.equal(code, 1)
    assert.match(stderr, wanted)
  }
  await refused(/holds a model already/, await quantized(model))
  await refused(/block-size is 48; expected one of 32/, fresh(), "--block-size", "48")
  await refused(/no linear of .* is called x_proj/, fresh(), "--skip", "x_proj")
  await refused(/--text has no effect without --report/, fresh(), "--text", "x.txt")
  const busy = fresh()
  mkdirSync(join(busy, ".quantizing"), { recursive: true })
  const lock = (pid: number) => join(busy, ".quantizing", `${pid}-0123456789ab.lock`)
  writeFileSync(lock(process.pid), "")
  await refused(/process \d+ writes here now/, busy)
  rmSync(lock(process.pid))
  const { pid } = spawnSync(process.execPath, ["--version"]) // has ended
  writeFileSync(lock(pid), "")
  await graftOk("quantize", "--model", model, "--out", busy, ...on)
  assert.equal(existsSync(join(busy, ".quantizing")), false)
  const { code, stderr } = await graft("quantize", "--model", model)
  assert.equal(code, 1)
  assert.match(stderr, /name a folder to write with --out/)
})

test("a weight that is not finite is named with its place, by quantize and by train", TIMEOUT, async () => {
  const bad = fresh()
  cpSync(model, bad, { recursive: true })
  const file = join(bad, "model.safetensors")
  const name = "model.layers.0.mlp.up_proj.weight"
  const tensors = await readTensors(file)
  const broken = [...tensors.values()].map((t): TensorToWrite => {
    if (t.name !== name) return { name: t.name, dtype: t.dtype, shape: t.shape, read: () => t.bytes }
    const dtype = t.dtype === "BF16" ? "bf16" : "f32"
    const values = widen(t.bytes, dtype)
    values[2 * t.shape[1]! + 5] = Number.NaN
    return { name, dtype, shape: t.shape, read: () => narrow(values, dtype) }
  })
  rmSync(file)
  await Effect.runPromise(writeSafetensors(file, broken))
  const out = fresh()
  const rows = join(folder, "rows.jsonl")
  writeFileSync(rows, '{"text": "hello there"}\n')
  for (const verb of [
    ["quantize", "--out", out],
    ["train", "--data", rows, "--out", fresh(), "--quantize", "nf4"]
  ]) {
    const { code, stderr } = await graft(...verb, "--model", bad, ...on)
    assert.equal(code, 1)
    assert.match(stderr, /model\.layers\.0\.mlp\.up_proj.*\[2, 5\] is NaN/)
  }
  assert.equal(existsSync(join(out, "config.json")), false)
})

test("--report: errors of every weight in three formats, and the rise of perplexity", TIMEOUT, async () => {
  const text = join(folder, "text.txt")
  writeFileSync(text, "It was a dark and stormy night; the rain fell in torrents. ".repeat(4))
  const flags = ["--report", "--text", text, "--max-length", "32", ...on, "--compute", "f32", "--json"]
  const events = jsonLines(await graftOk("quantize", "--model", model, ...flags))
  const weights = events.filter(({ event }) => event === "Weights")
  assert.deepEqual(
    weights.map(({ format }) => format),
    ["NF4", "NF4 + DQ", "FP4"]
  )
  const errors = weights.map(({ relativeError }) => Number(relativeError))
  assert.ok(errors[0]! > 0.05 && errors[0]! < 0.12 && errors[2]! > errors[0]!, `${errors}`)
  for (const event of weights) {
    const { weights: each } = event as unknown as FormatReport // as the verb said it
    for (const { worstBlock, relativeError } of each) assert.ok(worstBlock.relativeError >= relativeError)
  }
  const losses = events.filter(({ event }) => event === "Perplexity")
  assert.deepEqual(
    losses.map(({ format }) => format),
    ["unquantised", "NF4", "NF4 + DQ", "FP4"]
  )
  assert.equal(new Set(losses.map(({ loss }) => loss)).size, 4)
  for (const { loss, perplexity } of losses) assert.equal(perplexity, Math.exp(Number(loss)))
})
