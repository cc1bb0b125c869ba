import assert from "node:assert/strict"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { env } from "node:process"
import { after, before, describe, test } from "node:test"
import { type FakeHub, fakeHub } from "@graft/hub/fakeHub"
import { NotEnoughDisk } from "@graft/safetensors"
import { parquetWriteBuffer } from "hyparquet-writer"
import { isDataError, UnreadableData } from "./DataError.ts"
import { chooseFiles, configsOf, type HubSource, hubSource } from "./hubSource.ts"
import { openRows } from "./openRows.ts"

const jsonl = (...texts: ReadonlyArray<string>) => texts.map((text) => `${JSON.stringify({ text })}\n`).join("")
const parquet = (...texts: ReadonlyArray<string>) =>
  new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "text", data: [...texts], type: "STRING" }] }))

const card = `---
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: ["main/test.jsonl"]
- config_name: other
  data_files: other/*.jsonl
---
# Rows
`
let hub: FakeHub
const home = mkdtempSync(join(tmpdir(), "graft-sft-hub-"))
const kept = { HF_ENDPOINT: env["HF_ENDPOINT"], HF_HOME: env["HF_HOME"], HF_TOKEN: env["HF_TOKEN"] }
before(async () => {
  hub = await fakeHub({
    "datasets/org/plain": {
      files: { "train.jsonl": jsonl("a", "b"), "test.jsonl": jsonl("c"), "README.md": "# no head", "script.py": "" },
      branches: { v2: { "train.jsonl": jsonl("second") } }
    },
    "datasets/org/carded": {
      files: {
        "README.md": card,
        "main/train-00001-of-00002.parquet": parquet("three", "four"),
        "main/train-00000-of-00002.parquet": parquet("one", "two"),
        "main/test.jsonl": jsonl("five"),
        "other/x.jsonl": jsonl("six")
      },
      largeFrom: 100
    },
    "datasets/org/script": {
      files: { "script.py": "" },
      branches: { "refs/convert/parquet": { "default/train/0000.parquet": parquet("converted") } }
    },
    "datasets/org/huge": { files: { "train.jsonl": jsonl("a") }, claims: { "train.jsonl": 1e15 } },
    "datasets/org/gated": { files: { "train.jsonl": jsonl("x") }, token: "x", gated: true }
  })
  Object.assign(env, { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: "" })
})
after(async () => {
  for (const [name, value] of Object.entries(kept)) {
    if (value === undefined) delete env[name]
    else env[name] = value
  }
  await hub[Symbol.asyncDispose]()
  rmSync(home, { recursive: true })
})

const textsOf = async (path: string): Promise<ReadonlyArray<unknown>> => {
  const texts: Array<unknown> = []
  for (const file of await openRows(path)) {
    for await (const rows of file.rows()) texts.push(...rows.map(({ value }) => (value as { text: unknown }).text))
  }
  return texts
}

test("a name has a split, a configuration and a revision", () => {
  const of = (path: string) => {
    const found = hubSource(path)
    return found && [found.id, found.config, found.split, found.revision]
  }
  assert.deepEqual(of("org/name"), ["org/name", undefined, "train", undefined])
  assert.deepEqual(of("org/name:test"), ["org/name", undefined, "test", undefined])
  assert.deepEqual(of("org/name:main/test@v2"), ["org/name", "main", "test", "v2"])
  assert.deepEqual(of("org/name@refs/pr/1"), ["org/name", undefined, "train", "refs/pr/1"])
  assert.deepEqual(of("hf://datasets/org/na.me"), ["org/na.me", undefined, "train", undefined])
  for (const path of ["name", "a/b/c", "./a/b", "../a", "/a/b", "a/b:c/d/e", "C:\\x\\y"])
    assert.equal(of(path), undefined, path)
})

describe("rows of a data set of the Hub", () => {
  test("are those of the files that say the split in their name", async () => {
    assert.deepEqual(await textsOf("org/plain"), ["a", "b"])
    assert.deepEqual(await textsOf("org/plain:test"), ["c"])
    assert.deepEqual(await textsOf("org/plain@v2"), ["second"])
    assert.deepEqual(await textsOf("hf://datasets/org/plain:test"), ["c"])
  })
  test("are those that the README names, in the order of their parts", async () => {
    assert.deepEqual(await textsOf("org/carded"), ["one", "two", "three", "four"])
    assert.deepEqual(await textsOf("org/carded:test"), ["five"])
    assert.deepEqual(await textsOf("org/carded:other/train"), ["six"])
  })
  test("are the Hub's copy in Parquet where there is no file of rows", async () => {
    assert.deepEqual(await textsOf("org/script"), ["converted"])
  })
  test("are named by their file in the data set", async () => {
    const [file] = await openRows("org/plain")
    for await (const [row] of file!.rows()) assert.equal(row?.place.file, "org/plain/train.jsonl")
  })
  test("come from the cache when the Hub is not to be asked, and only if it holds all parts", async () => {
    await textsOf("org/carded")
    env["HF_HUB_OFFLINE"] = "1"
    try {
      assert.deepEqual(await textsOf("org/carded"), ["one", "two", "three", "four"])
      await assert.rejects(textsOf("org/absent"), /HF_HUB_OFFLINE is set/)
    } finally {
      delete env["HF_HUB_OFFLINE"]
    }
  })
})

test("a cache with some of the parts is refused", async () => {
  const sha = "0".repeat(40)
  const folder = join(home, "hub", "datasets--org--half")
  mkdirSync(join(folder, "refs"), { recursive: true })
  mkdirSync(join(folder, "snapshots", sha), { recursive: true })
  writeFileSync(join(folder, "refs", "main"), sha)
  writeFileSync(join(folder, "snapshots", sha, "train-00001-of-00003.jsonl"), jsonl("x"))
  env["HF_HUB_OFFLINE"] = "1"
  try {
    await assert.rejects(textsOf("org/half"), /the cache holds 1 of the 3 parts of train/)
  } finally {
    delete env["HF_HUB_OFFLINE"]
  }
})

test("a disk without room is told before a row is fetched", async () => {
  const error = await openRows("org/huge").catch((e: unknown) => e)
  assert.ok(error instanceof NotEnoughDisk && error.neededBytes === 1e15 && isDataError(error))
  assert.match(
    error.message,
    /hub: 1\.00 PB .* are to be written \(the data set org\/huge\), and the disk has .* free; make room, or set HF_HOME/
  )
  assert.ok(!existsSync(join(home, "hub", "datasets--org--huge", "blobs")))
})

describe("what is wrong", () => {
  const cases: ReadonlyArray<readonly [string, RegExp]> = [
    [
      "org/none",
      /^org\/none: there is no such file or folder here, and as a data set of the Hub: there is none of this name/
    ],
    ["org/gated", /access is asked for at http.*\/datasets\/org\/gated/],
    ["org/plain:validation", /it has no split validation, but test, train; name one, as in :test/],
    ["org/plain@v9", /it has no such revision/],
    ["org/carded:third/train", /it has no configuration third, but main, other/],
    ["org/rows.jsonl", /there is no such file or folder; check the path/],
    ["hf://models/org/x", /wanted hf:\/\/datasets\/org\/name/]
  ]
  for (const [path, message] of cases)
    test(path, () =>
      assert.rejects(openRows(path), (error) => error instanceof UnreadableData && message.test(error.message))
    )
})

test("files are chosen as `datasets` does", () => {
  const choose = (files: ReadonlyArray<string>, change: Partial<HubSource> = {}, readme = "") =>
    chooseFiles(
      { id: "o/n", config: undefined, split: "train", revision: undefined, ...change },
      files,
      configsOf(readme)
    )
  assert.deepEqual(choose(["a.jsonl", "b.jsonl"]), ["a.jsonl", "b.jsonl"], "no file says a split: all are train")
  assert.deepEqual(choose(["data/train-00000-of-00001.parquet", "data/val-0.parquet"], { split: "validation" }), [
    "data/val-0.parquet"
  ])
  assert.deepEqual(choose(["x/train/a.csv", "x/test/a.csv"]), ["x/train/a.csv"])
  assert.deepEqual(choose(["restraint.jsonl", "test.jsonl"], { split: "test" }), ["test.jsonl"])
  assert.match(String(choose(["a.jsonl"], { split: "test" })), /no split test, but train/)
  const two = "---\nconfigs:\n- config_name: a\n  data_files: a/*\n- config_name: b\n  data_files: b/*\n---\n"
  assert.match(String(choose(["a/x.csv", "b/x.csv"], {}, two)), /configurations a, b; name one, as in :a\/train/)
  assert.deepEqual(choose(["a/x.csv", "b/x.csv"], { config: "b" }, two), ["b/x.csv"])
  for (const odd of ["---\nconfigs: 3\n---\n", "---\n: [\n---\n", "---\nlicense: mit\n---\n", "none"])
    assert.deepEqual(configsOf(odd), [])
})
