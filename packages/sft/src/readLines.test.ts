import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { MalformedRow } from "./DataError.ts"
import { readJsonl } from "./readJsonl.ts"
import { type Line, readLines } from "./readLines.ts"

async function* inPieces(bytes: Uint8Array, sizes: ReadonlyArray<number>): AsyncGenerator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!
    yield bytes.subarray(at, at + size)
    at += size
  }
}
const linesOf = async (bytes: Uint8Array, sizes: ReadonlyArray<number> = [7]): Promise<ReadonlyArray<Line>> => {
  const lines: Array<Line> = []
  for await (const some of readLines(inPieces(bytes, sizes), "f")) lines.push(...some)
  return lines
}
const utf8 = (text: string) => new TextEncoder().encode(text)

test("lines are the same however the bytes come", async () => {
  const line = fc.string({ unit: "grapheme" }).map((text) => text.replaceAll(/[\n\r\uFEFF]/g, "é"))
  await fc.assert(
    fc.asyncProperty(
      fc.array(line),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      fc.boolean(),
      async (texts, sizes, ends) => {
        const bytes = utf8(texts.join("\n") + (ends ? "\n" : ""))
        const wanted = texts.map((text, i) => ({ number: i + 1, text })).filter(({ text }) => text.trim() !== "")
        assert.deepEqual(await linesOf(bytes, sizes), wanted)
      }
    )
  )
})

test("a byte order mark and carriage returns are dropped, empty lines counted", async () => {
  assert.deepEqual(await linesOf(utf8("\uFEFFone\r\n\r\n  \ntwo")), [
    { number: 1, text: "one" },
    { number: 4, text: "two" }
  ])
})

test("bytes that are not UTF-8 are refused with their line", async () => {
  await assert.rejects(
    linesOf(Uint8Array.of(65, 10, 66, 0xff, 10)),
    (e: unknown) => e instanceof MalformedRow && e.place.number === 2
  )
})

test("malformed JSON is refused with its line", async () => {
  const rows = readJsonl(inPieces(utf8('{"text":1}\n\n{"text": "unfinished\n'), [5]), "f.jsonl")
  assert.deepEqual((await rows.next()).value?.[0]?.value, { text: 1 })
  await assert.rejects(
    rows.next(),
    (e: unknown) =>
      e instanceof MalformedRow && e.place.number === 3 && /f\.jsonl line 3: not JSON .*unfinished/.test(e.message)
  )
})
