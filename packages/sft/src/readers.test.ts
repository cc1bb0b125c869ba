import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, describe, test } from "node:test"
import { int64Bytes } from "@graft/safetensors"
import fc from "fast-check"
import { parquetWriteBuffer } from "hyparquet-writer"
import { isDataError } from "./DataError.ts"
import { expandGlob } from "./expandGlob.ts"
import { openRows } from "./openRows.ts"
import type { RawRow } from "./RowFile.ts"
import { readJson } from "./readJson.ts"
import { readTable } from "./readTable.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-readers-"))
after(() => rmSync(folder, { recursive: true }))

async function* inPieces(text: string, sizes: ReadonlyArray<number>): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text)
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!
    yield bytes.subarray(at, at + size)
    at += size
  }
}
const all = async (rows: AsyncIterable<ReadonlyArray<RawRow>>): Promise<ReadonlyArray<RawRow>> => {
  const found: Array<RawRow> = []
  for await (const some of rows) found.push(...some)
  return found
}
const valuesOf = async (rows: AsyncIterable<ReadonlyArray<RawRow>>) => (await all(rows)).map(({ value }) => value)
const rowsOf = async (path: string) => {
  const files = await openRows(path)
  return (await Promise.all(files.map((file) => all(file.rows())))).flat()
}
const refuses = (read: Promise<unknown>, message: RegExp) =>
  assert.rejects(read, (e: unknown) => isDataError(e) && message.test(e.message))
const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 })

describe("JSON", () => {
  test("an array is read element by element, however the bytes come", async () => {
    const value = fc.jsonValue({ maxDepth: 3 })
    await fc.assert(
      fc.asyncProperty(fc.array(value), sizes, fc.constantFrom(undefined, 1, "\t"), async (rows, pieces, indent) => {
        assert.deepEqual(
          await valuesOf(readJson(inPieces(JSON.stringify(rows, null, indent), pieces), "f.json")),
          JSON.parse(JSON.stringify(rows))
        )
      })
    )
  })
  test("rows are counted from 1", async () => {
    const rows = await all(readJson(inPieces('\uFEFF [ {"text": "a,]"} , {"text": "b"} ] \n', [3]), "f.json"))
    assert.deepEqual(
      rows.map(({ place }) => place),
      [1, 2].map((number) => ({ file: "f.json", unit: "row", number }))
    )
  })
  test("a file of JSON Lines under this name is read too", async () => {
    assert.deepEqual(await valuesOf(readJson(inPieces('\n{"text":"a"}\n{"text":"b"}\n', [1]), "f.json")), [
      { text: "a" },
      { text: "b" }
    ])
    assert.deepEqual(await valuesOf(readJson(inPieces("", [1]), "f.json")), [])
  })
  test("what is malformed is refused with its row", async () => {
    const read = (text: string) => valuesOf(readJson(inPieces(text, [4]), "f.json"))
    await refuses(read('[{"a":1},{"a":}]'), /^f\.json row 2: not JSON/)
    await refuses(read('[{"a":1},,{"a":2}]'), /row 2: not JSON/)
    await refuses(read('[{"a":1},]'), /row 2: not JSON/)
    await refuses(read('[{"a":1},{"a"'), /row 2: the file ends inside the array/)
    await refuses(read('[{"a":1}] x'), /row 2: something follows/)
    await refuses(read('[{"a":1}}'), /row 2: something follows/)
  })
})

describe("tables", () => {
  test("any fields come back, quoted where they must be, however the bytes come", async () => {
    const field = fc.string({ unit: fc.constantFrom("a", " ", '"', ",", "\n", "\r\n", "\r", "é", "😀", "\t") })
    const columns = fc.integer({ min: 1, max: 4 })
    const table = columns.chain((n) =>
      fc.array(fc.array(field, { minLength: n, maxLength: n }), { minLength: 1 }).map((rows) => [n, rows] as const)
    )
    await fc.assert(
      fc.asyncProperty(
        table,
        sizes,
        fc.constantFrom(",", "\t"),
        fc.constantFrom("\n", "\r\n"),
        async ([n, rows], pieces, separator, end) => {
          const names = Array.from({ length: n }, (_, i) => `c${i}`)
          const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
          const text = [names, ...rows].map((fields) => fields.map(quoted).join(separator) + end).join("")
          const wanted = rows
            .filter((fields) => n > 1 || fields[0] !== "")
            .map((fields) => Object.fromEntries(names.map((name, i) => [name, fields[i]])))
          assert.deepEqual(await valuesOf(readTable(inPieces(text, pieces), "f.csv", separator as ",")), wanted)
        }
      )
    )
  })
  test("rows have the line where they begin", async () => {
    const rows = await all(readTable(inPieces('prompt,completion\r\n"a\nb",c\n\nd,"say ""e"""', [5]), "f.csv", ","))
    assert.deepEqual(
      rows.map(({ place, value }) => [place.number, value]),
      [
        [2, { prompt: "a\nb", completion: "c" }],
        [5, { prompt: "d", completion: 'say "e"' }]
      ]
    )
  })
  test("what is malformed is refused with its line", async () => {
    const read = (text: string) => valuesOf(readTable(inPieces(text, [4]), "f.csv", ","))
    await refuses(read("a,b\n1,2\n1,2,3\n"), /^f\.csv line 3: the row has 3 fields and the header 2/)
    await refuses(read('a,b\n1,"2\n'), /line 2: a quote is opened/)
    await refuses(read("a,a\n"), /line 1: the column a is named twice/)
  })
})

test("bytes that are not UTF-8 are refused, also a last character cut short", async () => {
  async function* bytes(...values: ReadonlyArray<number>) {
    yield Uint8Array.from(values)
  }
  await refuses(
    valuesOf(readTable(bytes(97, 10, 98, 10, 0xc3, 0x28), "f.csv", ",")),
    /^f\.csv line \d: the bytes are not UTF-8/
  )
  await refuses(
    valuesOf(readTable(bytes(97, 10, 98, 10, 0xc3), "f.csv", ",")),
    /^f\.csv line 3: the bytes are not UTF-8/
  )
  await refuses(valuesOf(readJson(bytes(91, 34, 0xff), "f.json")), /^f\.json row 1: the bytes are not UTF-8/)
})

describe("Parquet", () => {
  const write = (name: string, codec: "SNAPPY" | "UNCOMPRESSED" = "SNAPPY") => {
    const path = join(folder, name)
    const columnData = [
      { name: "text", data: Array.from({ length: 250 }, (_, i) => `row ${i} é`), type: "STRING" as const },
      { name: "input_ids", data: Array.from({ length: 250 }, (_, i) => [i, i + 1]), type: "JSON" as const }
    ]
    writeFileSync(path, new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 100, codec })))
    return path
  }
  test("row group by row group", async () => {
    for (const codec of ["SNAPPY", "UNCOMPRESSED"] as const) {
      const [file] = await openRows(write(`${codec}.parquet`, codec))
      const groups: Array<number> = []
      for await (const rows of file!.rows()) groups.push(rows.length)
      assert.deepEqual(groups, [100, 100, 50])
      const rows = await all(file!.rows())
      assert.deepEqual(rows[249], {
        place: { file: `${codec}.parquet`, unit: "row", number: 250 },
        value: { text: "row 249 é", input_ids: [249, 250] }
      })
    }
  })
  test("64-bit integers are numbers", async () => {
    const path = join(folder, "ints.parquet")
    writeFileSync(
      path,
      new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "n", data: [1n, 2n], type: "INT64" }] }))
    )
    assert.deepEqual(
      (await rowsOf(path)).map(({ value }) => value),
      [{ n: 1 }, { n: 2 }]
    )
  })
  test("a file cut short anywhere is refused", async () => {
    const whole = readFileSync(write("whole.parquet"))
    const path = join(folder, "cut.parquet")
    for (let bytes = 0; bytes < whole.length; bytes += 97) {
      writeFileSync(path, whole.subarray(0, bytes))
      await refuses(rowsOf(path), /^cut\.parquet: not a Parquet file/)
    }
  })
  test("what is none is refused", async () => {
    const path = join(folder, "none.parquet")
    writeFileSync(path, "PAR1 this is not a Parquet file at all PAR1")
    await refuses(rowsOf(path), /^none\.parquet: not a Parquet file/)
    writeFileSync(path, "")
    await refuses(rowsOf(path), /^none\.parquet: not a Parquet file/)
  })
})

describe("safetensors", () => {
  const write = (
    name: string,
    tensors: Readonly<Record<string, { readonly shape: ReadonlyArray<number>; readonly values: ReadonlyArray<number> }>>
  ) => {
    let at = 0
    const header: Record<string, unknown> = {}
    const parts = Object.entries(tensors).map(([tensor, { shape, values }]) => {
      const bytes = int64Bytes(values)
      header[tensor] = { dtype: "I64", shape, data_offsets: [at, at + bytes.length] }
      at += bytes.length
      return bytes
    })
    const json = Buffer.from(JSON.stringify(header))
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(json.length))
    const path = join(folder, name)
    writeFileSync(path, Buffer.concat([length, json, ...parts]))
    return path
  }
  const count = (n: number) => Array.from({ length: n }, (_, i) => i)

  test("batches of rows come in order", async () => {
    const rows = await rowsOf(write("b.safetensors", { batches: { shape: [3, 100, 2], values: count(600) } }))
    assert.equal(rows.length, 300)
    assert.deepEqual(rows[299], {
      place: { file: "b.safetensors", unit: "row", number: 300 },
      value: { input_ids: [598, 599] }
    })
  })
  test("with labels and attention_mask", async () => {
    const path = write("m.safetensors", {
      input_ids: { shape: [1, 3], values: [5, 6, 0] },
      labels: { shape: [1, 3], values: [-100, 6, -100] },
      attention_mask: { shape: [1, 3], values: [1, 1, 0] }
    })
    assert.deepEqual(
      (await rowsOf(path)).map(({ value }) => value),
      [{ input_ids: [5, 6, 0], labels: [-100, 6, -100], attention_mask: [1, 1, 0] }]
    )
  })
  test("what does not fit is refused", async () => {
    await refuses(
      rowsOf(write("x.safetensors", { logits: { shape: [1], values: [1] } })),
      /holds logits; wanted an integer tensor input_ids/
    )
    await refuses(
      rowsOf(
        write("y.safetensors", { input_ids: { shape: [1, 2], values: [1, 2] }, labels: { shape: [2], values: [1, 2] } })
      ),
      /labels is \[2\] and input_ids \[1, 2\]/
    )
    writeFileSync(join(folder, "z.safetensors"), "short")
    await refuses(rowsOf(join(folder, "z.safetensors")), /^z\.safetensors: /)
  })
})

test("patterns name files by *, ? and **, sorted, hidden ones left out", async () => {
  const base = join(folder, "glob")
  for (const name of [
    "b1.jsonl",
    "a1.jsonl",
    "a22.jsonl",
    "x.csv",
    "sub/a1.jsonl",
    "sub/deep/a3.jsonl",
    ".hidden/a4.jsonl"
  ]) {
    mkdirSync(join(base, name, ".."), { recursive: true })
    writeFileSync(join(base, name), '{"text":"a"}\n')
  }
  const found = async (pattern: string) =>
    (await expandGlob(join(base, pattern))).map((path) => path.slice(base.length + 1))
  assert.deepEqual(await found("*.jsonl"), ["a1.jsonl", "a22.jsonl", "b1.jsonl"])
  assert.deepEqual(await found("a?.jsonl"), ["a1.jsonl"])
  assert.deepEqual(await found("**/a*.jsonl"), ["a1.jsonl", "a22.jsonl", "sub/a1.jsonl", "sub/deep/a3.jsonl"])
  assert.deepEqual(await found("*/a1.jsonl"), ["sub/a1.jsonl"])
  assert.equal((await rowsOf(join(base, "**/*.jsonl"))).length, 5)
  await refuses(rowsOf(join(base, "none*.jsonl")), /the pattern matches no file/)
  await refuses(
    rowsOf(join(base, "sub/deep/..")).then(() => rowsOf(join(base, "empty"))),
    /no such file or folder/
  )
})

test("a folder is read file by file, by name; one without data is refused", async () => {
  const base = join(folder, "texts")
  mkdirSync(base)
  await refuses(rowsOf(base), /the folder holds no file that ends in \.jsonl/)
  writeFileSync(join(base, "b.txt"), "second")
  writeFileSync(join(base, "a.txt"), "first")
  writeFileSync(join(base, "notes.md"), "no data")
  assert.deepEqual(
    (await rowsOf(base)).map(({ value }) => value),
    [{ text: "first" }, { text: "second" }]
  )
})
