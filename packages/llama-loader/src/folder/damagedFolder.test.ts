/** A checkpoint in shards, damaged in each way that a broken download or a wrong writer leaves: named before any weight is read. */
import assert from "node:assert/strict"
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, describe, test } from "node:test"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { openModel } from "./openModel.ts"

const fixture = fileURLToPath(new URL("../../../testing/fixtures/tiny-llama", import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), "graft-damaged-"))
after(() => rmSync(temporary, { recursive: true }))

const SHARD = "model-00002-of-00002.safetensors"
const INDEX = "model.safetensors.index.json"

interface Head {
  readonly shape: ReadonlyArray<number>
}
/** Writes the header of a shard anew; the tensors' bytes stay. */
const rewrite = (path: string, change: (header: Record<string, Head>) => void): void => {
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, Head> // the fixture's
  change(header)
  const text = Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]))
}
const HEAD = "lm_head.weight"
const changeHead = (path: string, change: (head: Head) => object): void =>
  rewrite(path, (header) => {
    const head = header[HEAD]! // the second shard has it
    header[HEAD] = { ...head, ...change(head) }
  })

const cases: ReadonlyArray<readonly [string, tag: string, wanted: RegExp, damage: (folder: string) => void]> = [
  [
    "a shard is missing",
    "FileError",
    /names 2 shards, and of these are missing in .*: model-00002-of-00002\.safetensors/,
    (folder) => rmSync(join(folder, SHARD))
  ],
  [
    "a shard is cut short in its tensors",
    "SafetensorsError",
    /model-00002-of-00002\.safetensors is not a sound .* tensor ".*" lies at bytes .*, and the file has/,
    (folder) => truncateSync(join(folder, SHARD), readFileSync(join(folder, SHARD)).length - 100)
  ],
  [
    "a shard is cut short in its header",
    "SafetensorsError",
    /model-00002-of-00002\.safetensors .*the header claims \d+ bytes, and 92 follow/,
    (folder) => truncateSync(join(folder, SHARD), 100)
  ],
  [
    "a pointer of Git LFS lies in a shard's place",
    "SafetensorsError",
    /model-00002-of-00002\.safetensors .*it is a pointer of Git LFS.*git lfs pull/,
    (folder) => writeFileSync(join(folder, SHARD), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
  ],
  [
    "a tensor is missing in the shard that the index names",
    "SafetensorsError",
    /lm_head\.weight is not in model-00002-of-00002\.safetensors/,
    (folder) =>
      rewrite(join(folder, SHARD), (header) => {
        header.other = header[HEAD]!
        delete header[HEAD]
      })
  ],
  [
    "a tensor is missing in the index and its shard",
    "WeightsMismatch",
    /model\.norm\.weight \[64\] is missing/,
    (folder) => {
      rewrite(join(folder, SHARD), (header) => {
        header["model.norms.weight"] = header["model.norm.weight"]!
        delete header["model.norm.weight"]
      })
      const path = join(folder, INDEX)
      writeFileSync(path, readFileSync(path, "utf8").replace("model.norm.weight", "model.norms.weight"))
    }
  ],
  [
    "a tensor is of a type that no weight has",
    "SafetensorsError",
    /model-00002-of-00002\.safetensors: tensor lm_head\.weight is I16; weights may be F32, BF16/,
    (folder) => changeHead(join(folder, SHARD), () => ({ dtype: "I16" }))
  ],
  [
    "a dense tensor is of bytes",
    "WeightsMismatch",
    /lm_head\.weight is u8 in model-00002-of-00002\.safetensors, where f32, bf16 or f16 is wanted/,
    (folder) =>
      changeHead(join(folder, SHARD), (head) => {
        const [rows, columns] = head.shape
        return { dtype: "U8", shape: [rows, 2 * columns!] }
      })
  ],
  [
    "a tensor has another shape",
    "WeightsMismatch",
    /lm_head\.weight is \[64, \d+\] in model-00002-of-00002\.safetensors, wanted \[\d+, 64\]/,
    (folder) => changeHead(join(folder, SHARD), (head) => ({ shape: [...head.shape].reverse() }))
  ],
  [
    "the index names a file elsewhere",
    "SafetensorsError",
    /weight_map puts ".*" into "\.\.\/model-00002.*no plain name of a file beside the index/,
    (folder) => {
      const path = join(folder, INDEX)
      writeFileSync(path, readFileSync(path, "utf8").replaceAll(`"${SHARD}`, `"../${SHARD}`))
    }
  ]
]

describe("refused", () => {
  for (const [name, tag, wanted, damage] of cases)
    test(name, async () => {
      const folder = join(temporary, name.replaceAll(/[^a-z]/g, "-"))
      cpSync(fixture, folder, { recursive: true })
      damage(folder)
      const error = await Effect.runPromise(Effect.flip(Effect.scoped(openModel(folder))))
      assert.equal(error._tag, tag)
      assert.match(error.message, wanted)
      assert.ok(error.message.includes(folder))
    })
})
