/** Runs the example as its README says, with fewer layers and tokens, and looks at what it prints. */
import assert from "node:assert/strict"
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"

const main = fileURLToPath(new URL("main.ts", import.meta.url))

test("QLoRA on Llama-2-7b's shapes: planned to the byte, the loss starts where it must and falls", {
  timeout: 300_000
}, () => {
  const out = mkdtempSync(join(tmpdir(), "graft-7b-"))
  const args = ["--synthetic", "--layers", "2", "--tokens", "64", "--steps", "3", "--out", out]
  const printed = execFileSync(process.execPath, [main, ...args], { encoding: "utf8" })
  const planned = /([\d.]+ MB) planned, 2498560 parameters/.exec(printed)?.[1]
  const taken = /([\d.]+ MB) taken/.exec(printed)?.[1]
  assert.ok(planned !== undefined && planned === taken, printed)
  const losses = [...printed.matchAll(/step \d+: loss ([\d.]+)/g)].map((found) => Number(found[1]))
  // The mean of 63 losses, each about a nat around its expectation.
  assert.ok(Math.abs(losses[0]! - 11.19) < 0.4, printed)
  assert.ok(losses[2]! < losses[0]! - 0.1, printed)
  assert.ok(existsSync(join(out, "adapter_model.safetensors")))
  rmSync(out, { recursive: true })
})
test("without a token the gated model says where to get access, and the two other ways", { timeout: 60_000 }, () => {
  const out = mkdtempSync(join(tmpdir(), "graft-7b-"))
  const env = { ...process.env, HF_HOME: out, HF_TOKEN: "", HUGGING_FACE_HUB_TOKEN: "", HF_HUB_CACHE: "" }
  const { status, stderr } = spawnSync(process.execPath, [main, "--out", out], { encoding: "utf8", env })
  assert.equal(status, 1)
  assert.match(
    stderr,
    /huggingface\.co\/meta-llama\/Llama-2-7b-hf.*HF_TOKEN=.*--model FOLDER\|FILE\.gguf.*--synthetic/s
  )
  rmSync(out, { recursive: true })
})
test("a run that this machine cannot hold is refused before anything is written", { timeout: 60_000 }, () => {
  const out = mkdtempSync(join(tmpdir(), "graft-7b-"))
  const args = ["--synthetic", "--layers", "2", "--tokens", "64", "--rank", String(2 ** 20), "--out", out]
  const { status, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" })
  assert.equal(status, 1)
  assert.match(stderr, /would take \d+ bytes and this machine has|spill file in .* needs [\d.]+ MiB, and there are/)
  assert.deepEqual(readdirSync(out), [])
  rmSync(out, { recursive: true })
})
