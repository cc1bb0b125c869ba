/** The suite that every optimiser passes, and the example as its README says, with a look at what it prints. */
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { oneArena, ReferenceQueue } from "@graft/core"
import { testOptimizer } from "@graft/testing"
import { nesterov } from "./nesterov.ts"

testOptimizer(
  "reference",
  { limits: oneArena("reference"), open: (bytes) => new ReferenceQueue(bytes) },
  { name: "Nesterov", make: nesterov(0.9, 0.1), decays: true }
)
test("Nesterov trains, in under 50 lines and without a change in core", { timeout: 60_000 }, () => {
  const lines = readFileSync(new URL("nesterov.ts", import.meta.url), "utf8")
    .trimEnd()
    .split("\n")
  assert.ok(lines.length < 50, `${lines.length} lines`)
  const root = fileURLToPath(new URL("../../", import.meta.url))
  const printed = execFileSync(process.execPath, ["examples/custom-optimizer/main.ts"], { cwd: root, encoding: "utf8" })
  const [, numbers, state] = /^trains (\d+) numbers with (\d+) bytes of state: .*Nesterov/.exec(printed) ?? []
  assert.ok(Number(state) >= 4 * Number(numbers) && Number(state) < 4 * Number(numbers) + 256, printed)
  const [before, after] = [...printed.matchAll(/held-out loss after step \d+: ([\d.]+)/g)].map((found) =>
    Number(found[1])
  )
  assert.ok(after! < before! - 0.01, printed)
})
