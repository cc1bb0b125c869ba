/** Runs the example as its README says, and looks at what it prints. */
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"

test("a GGUF is fine-tuned and its adapter read back", { timeout: 60_000 }, () => {
  const near = (path: string) => fileURLToPath(new URL(path, import.meta.url))
  const out = mkdtempSync(join(tmpdir(), "graft-gguf-"))
  const args = [
    near("main.ts"),
    near("../../packages/testing/fixtures/tiny-bpe/quantized.gguf"),
    near("../data/jargon.jsonl"),
    out
  ]
  const printed = execFileSync(process.execPath, args, { encoding: "utf8" })
  assert.match(printed, /GGUF v3, Q4_1 and F32 and Q8_0/)
  assert.match(printed, /weights: 7\d kB in memory/, "the file's tensors take 74.5 kB")
  const [before, after] = [...printed.matchAll(/after step \d+: loss ([\d.]+)/g)].map((found) => Number(found[1]))
  assert.ok(after! < before! - 0.1, printed)
  assert.match(printed, /saved: rank 4, 8 tensors, for q_proj,v_proj/)
  rmSync(out, { recursive: true })
})
