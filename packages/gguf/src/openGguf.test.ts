import assert from "node:assert/strict"
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { Effect } from "effect"
import { type EncodedValue, encodeGguf } from "./encodeGguf.ts"
import { GgufError } from "./GgufError.ts"
import { openGguf } from "./openGguf.ts"
import { writeGguf } from "./writeGguf.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-gguf-"))
after(() => rmSync(folder, { recursive: true }))

const nameOf = (part: number): string => join(folder, `model-0000${part}-of-00003.gguf`)
const u16 = (value: number): EncodedValue => ({ type: "u16", value })
const tensor = (name: string, value: number) => ({ name, shape: [32], type: 24, bytes: new Uint8Array(32).fill(value) })
const part = (no: number, names: ReadonlyArray<string>, count = 3, total = 4): Uint8Array =>
  encodeGguf(
    {
      ...(no === 0 ? { "general.architecture": { type: "text", value: "llama" } as const } : {}),
      "split.no": u16(no),
      "split.count": u16(count),
      "split.tensors.count": { type: "i32", value: total }
    },
    names.map((name, i) => tensor(name, 10 * no + i))
  )
const write = (): void => {
  writeFileSync(nameOf(1), part(0, ["a", "b"]))
  writeFileSync(nameOf(2), part(1, ["c"]))
  writeFileSync(nameOf(3), part(2, ["d"]))
}
const open = (path: string) =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(openGguf(path), (file) => ({
        architecture: file.metadata.get("general.architecture"),
        firsts: [...file.tensors.values()].map(({ name, read }) => [name, read()[0]]),
        paths: [...file.tensors.values()].map(({ path }) => path)
      }))
    )
  )
const refuses = (path: string, message: RegExp): Promise<void> =>
  assert.rejects(open(path), (error) => error instanceof GgufError && message.test(error.message))

test("any part opens all, and each tensor knows its file", async () => {
  write()
  for (const path of [nameOf(1), nameOf(3)]) {
    const found = await open(path)
    assert.equal(found.architecture, "llama")
    assert.deepEqual(found.firsts, [
      ["a", 0],
      ["b", 1],
      ["c", 10],
      ["d", 20]
    ])
    assert.deepEqual(found.paths, [nameOf(1), nameOf(1), nameOf(2), nameOf(3)])
  }
})

test("a missing part is named", async () => {
  write()
  rmSync(nameOf(2))
  await refuses(nameOf(1), /beside it is missing model-00002-of-00003\.gguf\. Fetch it/)
  rmSync(nameOf(1))
  await refuses(nameOf(3), /are missing model-00001-of-00003\.gguf, model-00002-of-00003\.gguf/)
})

test("parts that do not belong together", async () => {
  write()
  writeFileSync(nameOf(2), part(2, ["c"]))
  await refuses(nameOf(1), /says that it is part 3 of 3, and its name part 2 of 3/)
  await refuses(nameOf(2), /is called part 2, and says that it is part 3/)
  writeFileSync(nameOf(2), part(1, ["a"]))
  await refuses(nameOf(1), /the tensor a is in .*00001-of-00003\.gguf too/)
  writeFileSync(nameOf(2), part(1, []))
  await refuses(nameOf(1), /the parts hold 3 tensors, and it says 4/)
  write()
  renameSync(nameOf(1), join(folder, "renamed.gguf"))
  await refuses(join(folder, "renamed.gguf"), /its name does not say which: NAME-00001-of-00003\.gguf/)
  writeFileSync(nameOf(1), part(0, ["a"], 60_000))
  await refuses(nameOf(1), /one of 60000 parts; up to 999/)
})

test("a file that is written is read again, and a folder is no file", async () => {
  const path = join(folder, "written.gguf")
  await Effect.runPromise(
    writeGguf(path, { "split.count": u16(1), "some.list": { type: "texts", value: ["x", ""] } }, [
      { name: "odd", shape: [33], type: 24, bytes: new Uint8Array(33).fill(1) },
      tensor("next", 2)
    ])
  )
  const { firsts } = await open(path)
  assert.deepEqual(firsts, [
    ["odd", 1],
    ["next", 2]
  ])
  await assert.rejects(open(folder), { _tag: "FileError" })
})
