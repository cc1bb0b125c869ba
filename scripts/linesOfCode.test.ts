import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { linesOfCode } from "./linesOfCode.ts"
import { coreBudget, countPackage } from "./loc.ts"
import { root } from "./workspacePackages.ts"

test("comments and blank lines are no code; strings that look like comments are", () => {
  const folder = mkdtempSync(join(tmpdir(), "graft-loc-"))
  try {
    const file = join(folder, "sample.ts")
    writeFileSync(
      file,
      [
        "/** head",
        " * comment */",
        "",
        "export const a = 1 // beside",
        "// alone",
        "const s = `",
        "// text",
        "`",
        ""
      ].join("\n")
    )
    assert.equal(linesOfCode(file), 4)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test(`core keeps within ${coreBudget} lines of code`, () => {
  const { code } = countPackage(join(root, "packages/core"))
  assert.ok(code > 0, "core: no code found under packages/core/src")
  assert.ok(code <= coreBudget, `core: ${code} lines of code, limit ${coreBudget}; move something into a plug-in`)
})
