/** Runs the quickstart as a newcomer does, and looks at what it prints. */
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"

test("the embedded model answers like a pirate afterwards, and not before", { timeout: 300_000 }, () => {
  const out = mkdtempSync(join(tmpdir(), "graft-quickstart-"))
  const printed = execFileSync(process.execPath, [fileURLToPath(new URL("main.ts", import.meta.url)), out], {
    encoding: "utf8"
  })
  const answers = (when: string) =>
    [...printed.matchAll(new RegExp(`^ +${when} +(.*)$`, "gm"))].map((found) => found[1]!)
  const [before, after] = [answers("before"), answers("after")]
  assert.equal(before.length, 3, printed)
  assert.ok(
    before.every((text) => text.length > 10 && !text.startsWith("Arr!")),
    printed
  )
  // An answer that is cut at its 48 tokens has no end; which one that is may differ by instruction set.
  assert.ok(
    after.every((text) => text.startsWith("Arr! ")) && after.filter((text) => text.endsWith("matey!")).length >= 2,
    printed
  )
  const [first, last] = [...printed.matchAll(/held out +loss ([\d.]+)/g)].map((found) => Number(found[1]))
  assert.ok(last! < first! - 3, printed)
  rmSync(out, { recursive: true })
})
