/** Runs the example as its README says, and looks at what it prints. */
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import test from "node:test"
import { fileURLToPath } from "node:url"

test("IA³ trains, without a change in core", { timeout: 60_000 }, () => {
  const root = fileURLToPath(new URL("../../", import.meta.url))
  const printed = execFileSync(process.execPath, ["examples/custom-adapter/main.ts"], { cwd: root, encoding: "utf8" })
  assert.match(printed, /^trains 128 numbers: .*IA3/)
  const [before, after] = [...printed.matchAll(/held-out loss after step \d+: ([\d.]+)/g)].map((found) =>
    Number(found[1])
  )
  assert.ok(after! < before! - 0.01, printed)
})
