import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { appendFileSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { Effect } from "effect"
import { keptHash } from "./keptHash.ts"
import { writeSafetensors } from "./writeSafetensors.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-hash-"))
after(() => rmSync(folder, { recursive: true }))
const tensor = { name: "w", dtype: "u8", shape: [5], read: () => Uint8Array.of(1, 2, 3, 4, 5) } as const
const written = async (name: string): Promise<string> => {
  const path = join(folder, name)
  await Effect.runPromise(writeSafetensors(path, [tensor], { keepHash: true }))
  return path
}

test("a hash is that of the file, and of no other size or time", async () => {
  const path = await written("a")
  assert.equal(await keptHash(path), createHash("sha256").update(readFileSync(path)).digest("hex"))
  utimesSync(path, new Date(), new Date(Date.now() - 60_000))
  assert.equal(await keptHash(path), undefined)
  const longer = await written("b")
  appendFileSync(longer, "more")
  assert.equal(await keptHash(longer), undefined)
})
test("what is no kept hash is none", async () => {
  const path = await written("c")
  const beside = `${path}.sha256`
  const good = readFileSync(beside, "utf8")
  for (const bad of ["", "{", "[]", "null", good.replace(/"[0-9a-f]{64}"/, '"abc"'), good + " ".repeat(2000)]) {
    writeFileSync(beside, bad)
    assert.equal(await keptHash(path), undefined, bad)
  }
  rmSync(beside)
  assert.equal(await keptHash(path), undefined)
})
