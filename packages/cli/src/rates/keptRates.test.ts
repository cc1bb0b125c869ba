import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { after, test } from "node:test"
import { Effect } from "effect"
import { cacheFolder, keepRates, keptRates, ratesFile } from "./keptRates.ts"
import { measureDisk } from "./measureDisk.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-rates-"))
const before = process.env.XDG_CACHE_HOME
process.env.XDG_CACHE_HOME = folder
after(() => {
  if (before === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = before
  rmSync(folder, { recursive: true })
})
const machine = { processor: "an abacus", isa: "scalar", threads: 2 }
const kept = (threads = 2) => Effect.runPromise(keptRates({ ...machine, threads }))
const keep = (rates: Parameters<typeof keepRates>[1]) => Effect.runPromise(keepRates(machine, rates))

test("rates are kept by machine and put over those before", async () => {
  assert.equal(await kept(), undefined)
  await keep({ peak: { f32: 2e9 }, products: { f32: 1e9, bf16: 3e9 }, disk: 5e8 })
  await keep({ peak: { f32: 4e9 }, products: { f32: 3e9 } })
  const { measured, ...rates } = (await kept())!
  assert.deepEqual(rates, { peak: { f32: 4e9 }, products: { f32: 3e9, bf16: 3e9 }, disk: 5e8 })
  assert.ok(Math.abs(Date.parse(measured) - Date.now()) < 60_000)
  assert.equal(await kept(3), undefined)
  assert.deepEqual(readdirSync(dirname(ratesFile())), ["rates.json"], "nothing half-written stays")
})
test("a file that is broken, or holds what is no rate, counts as none and is replaced", async () => {
  await keep({ peak: {}, products: { f32: 1e9 } })
  const good = readFileSync(ratesFile(), "utf8")
  for (const bad of [good.slice(0, 40), "[]", good.replace("1000000000", "-1"), good.replace("1000000000", "null")]) {
    writeFileSync(ratesFile(), bad)
    assert.equal(await kept(), undefined)
  }
  await keep({ peak: {}, products: { f32: 1e9 } })
  assert.equal((await kept())?.products.f32, 1e9)
})
test("the cache folder is the system's", () => {
  assert.equal(cacheFolder({ XDG_CACHE_HOME: "/x" }, "linux"), join("/x", "graft"))
  assert.equal(cacheFolder({}, "linux"), join(homedir(), ".cache", "graft"))
  assert.equal(cacheFolder({}, "darwin"), join(homedir(), "Library", "Caches", "graft"))
  assert.equal(cacheFolder({ LOCALAPPDATA: "C:" }, "win32"), join("C:", "graft", "cache"))
})
test("the disk is measured, and nothing stays there", () => {
  const rate = measureDisk(join(folder, "disk"))
  assert.ok(rate === undefined || (rate > 1e6 && rate < 1e12), String(rate))
  assert.ok(existsSync(join(folder, "disk")))
  assert.deepEqual(readdirSync(join(folder, "disk")), [])
})
