import assert from "node:assert/strict"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { readAdapter } from "./readAdapter.ts"

const fixture = fileURLToPath(new URL("../../testing/fixtures/tiny-lora-patterns", import.meta.url))

test("a tensor is read when it is asked for, while the scope lives", async () => {
  const folder = mkdtempSync(join(tmpdir(), "graft-test-"))
  try {
    cpSync(fixture, folder, { recursive: true })
    const weights = join(folder, "adapter_model.safetensors")
    const values = await Effect.runPromise(
      Effect.scoped(
        Effect.map(readAdapter(folder), ({ values }) => {
          for (const { size, read } of values.values()) assert.equal(read().length, size)
          const [one] = values.values()
          const before = one!.read()
          // The header stays; all numbers become 0.
          const bytes = readFileSync(weights)
          writeFileSync(weights, bytes.fill(0, 8 + Number(bytes.readBigUInt64LE())))
          assert.ok(before.some((value) => value !== 0))
          assert.deepEqual(one!.read(), new Float32Array(before.length))
          return values
        })
      )
    )
    const [one] = values.values()
    assert.throws(() => one!.read(), /is closed/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
