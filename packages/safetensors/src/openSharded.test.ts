import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { Effect } from "effect"
import { openFile } from "./ByteSource.ts"
import { openSafetensors } from "./openSafetensors.ts"
import { openSharded } from "./openSharded.ts"
import { writeSafetensors } from "./writeSafetensors.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-shards-"))
after(() => rmSync(folder, { recursive: true }))

const bytes = (name: string, ...values: ReadonlyArray<number>) => ({
  name,
  dtype: "u8" as const,
  shape: [values.length],
  read: () => Uint8Array.from(values)
})
await Effect.runPromise(writeSafetensors(join(folder, "model-1.safetensors"), [bytes("a", 1, 2), bytes("b", 3)]))
await Effect.runPromise(writeSafetensors(join(folder, "model-2.safetensors"), [bytes("c", 4, 5, 6)]))

const index = join(folder, "model.safetensors.index.json")
const opening = (map: Readonly<Record<string, unknown>>) => {
  writeFileSync(index, JSON.stringify({ metadata: { total_size: 6 }, weight_map: map }))
  return Effect.scoped(
    Effect.map(openSharded(index), (file) => file.names.map((name) => [name, ...file.get(name)!.read()]))
  )
}
const failing = async (map: Readonly<Record<string, unknown>>) =>
  (await Effect.runPromise(Effect.flip(opening(map)))).message

test("reads through an index", async () => {
  const all = await Effect.runPromise(
    opening({ a: "model-1.safetensors", c: "model-2.safetensors", b: "model-1.safetensors" })
  )
  assert.deepEqual(all, [
    ["a", 1, 2],
    ["c", 4, 5, 6],
    ["b", 3]
  ])
})

test("names every missing shard and every tensor that is not where the index says", async () => {
  assert.match(
    await failing({ a: "model-1.safetensors", x: "model-7.safetensors", y: "model-8.safetensors" }),
    /model-7\.safetensors, model-8\.safetensors/
  )
  assert.match(
    await failing({ a: "model-2.safetensors", c: "model-1.safetensors" }),
    /a is not in model-2\.safetensors; c is not in model-1\.safetensors/
  )
})

test("refuses a tensor in two shards", async () => {
  await Effect.runPromise(writeSafetensors(join(folder, "model-3.safetensors"), [bytes("a", 9)]))
  assert.match(
    await failing({ a: "model-1.safetensors", z: "model-3.safetensors" }),
    /a is in model-1\.safetensors and again in model-3\.safetensors/
  )
})

test("refuses names that lead out of the folder, an empty map, a key that comes twice, no JSON", async () => {
  assert.match(await failing({ a: "../model-1.safetensors" }), /no plain name/)
  assert.match(await failing({ a: ".hidden" }), /no plain name/)
  assert.match(await failing({ a: 3 }), /no plain name/)
  assert.match(await failing({}), /empty/)
  const text = async (content: string) => {
    writeFileSync(index, content)
    return (await Effect.runPromise(Effect.flip(Effect.scoped(openSharded(index))))).message
  }
  assert.match(await text('{"weight_map":{"a":"x","a":"y"}}'), /"a" a second time/)
  assert.match(await text("{"), /character 1/)
  assert.match(await text("[]"), /no object weight_map/)
})

test("a missing file, a directory and a closed file", async () => {
  const missing = await Effect.runPromise(Effect.flip(Effect.scoped(openSafetensors(join(folder, "none")))))
  assert.match(missing.message, /cannot open .*none \(ENOENT\)/)
  const directory = await Effect.runPromise(Effect.flip(Effect.scoped(openSafetensors(folder))))
  assert.match(directory.message, /EISDIR/)
  const source = await Effect.runPromise(Effect.scoped(openFile(index)))
  assert.throws(() => source.read(0, 1), /is closed/)
})
