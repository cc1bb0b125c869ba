/** Runs the example as its README says, and compares what it prints with what the README shows. */
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { readFileSync, rmSync } from "node:fs"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"

const adapter = fileURLToPath(new URL("adapter", import.meta.url))
after(() => rmSync(adapter, { recursive: true, force: true }))

test("the composed stack trains, and prints what its README shows", { timeout: 60_000 }, () => {
  const root = fileURLToPath(new URL("../../", import.meta.url))
  const printed = execFileSync(process.execPath, ["examples/compose-your-own/main.ts"], { cwd: root, encoding: "utf8" })
  const readme = readFileSync(new URL("README.md", import.meta.url), "utf8")
  const shown = readme.split("```\n")[2]!
  const [got, wanted] = [printed, shown].map((text) => text.trimEnd().split("\n"))
  assert.equal(got!.length, wanted!.length, printed)
  // Losses of another instruction set may differ in the last digit that is shown, and its threads take other scratch memory.
  const number = /(?<=loss )[\d.]+$|\d+(?= bytes)/
  for (const [i, line] of wanted!.entries()) {
    assert.equal(got![i]!.replace(number, ""), line.replace(number, ""))
    const want = Number(number.exec(line)?.[0])
    const near = line.includes("bytes") ? 0.2 * want : 0.03
    assert.ok(Math.abs(Number(number.exec(got![i]!)?.[0]) - want) <= near, got![i])
  }
})
