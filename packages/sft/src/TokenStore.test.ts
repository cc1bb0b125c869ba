import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import fc from "fast-check"
import { SpillFailed } from "./DataError.ts"
import { DuplicateFinder } from "./DuplicateFinder.ts"
import type { Place } from "./Place.ts"
import { TokenStore } from "./TokenStore.ts"

const at = (number: number, file = "f"): Place => ({ file, unit: "line", number })

test("a document has its ids, and as targets the next tokens where they are learnt", () => {
  const store = new TokenStore()
  store.append(Int32Array.of(5, ~6, 7, ~8), at(2))
  assert.deepEqual(store.document(0), {
    sample: 0,
    ids: Int32Array.of(5, 6, 7, 8),
    targets: Int32Array.of(6, -1, 8, -1)
  })
  assert.equal(store.supervisedOf(0), 2)
  assert.deepEqual(store.placeOf(0), at(2))
})

test("rows come back as they went in, from memory or from the file", () => {
  const folder = mkdtempSync(join(tmpdir(), "graft-test-"))
  try {
    using store = new TokenStore({ memoryBytes: 4 * 1024 * 1024, folder })
    const rows: Array<Int32Array> = []
    // About 13.4 chunks of 2^18 words, so that rows lie across borders and nine chunks in the file.
    for (let i = 0; i < 70; i++) rows.push(Int32Array.from({ length: 50_000 }, (_, t) => (t * 31 + i * 7) % 1000))
    for (const [i, row] of rows.entries()) assert.equal(store.append(row, at(i + 1, i < 30 ? "a" : "b")), i)
    assert.equal(store.tokens, 70 * 50_000)
    assert.equal(store.spilledBytes, 9 * 1024 * 1024) // of 13 whole chunks the first four stay
    for (const i of [69, 0, 33, 20, 21, 41, 42, 63]) {
      assert.deepEqual(store.wordsOf(i), rows[i])
      assert.deepEqual(store.placeOf(i), at(i + 1, i < 30 ? "a" : "b"))
    }
    store[Symbol.dispose]()
    assert.deepEqual(readdirSync(folder), [])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test("a folder that cannot be written to is a typed error", () => {
  const store = new TokenStore({ memoryBytes: 0, folder: "/nowhere/at/all" })
  const big = new Int32Array(1024 * 1024)
  assert.throws(
    () => store.append(big, at(1)),
    (e: unknown) => e instanceof SpillFailed && /TMPDIR/.test(e.message)
  )
})

test("duplicates are found, and only these", () => {
  const row = fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 4 })
  fc.assert(
    fc.property(fc.array(row, { maxLength: 3000, size: "max" }), (rows) => {
      const store = new TokenStore()
      const finder = new DuplicateFinder(store)
      const seen = new Map<string, number>()
      for (const [i, words] of rows.entries()) {
        const typed = Int32Array.from(words)
        store.append(typed, at(i))
        const key = words.join()
        if (!seen.has(key)) seen.set(key, i)
        assert.equal(finder.add(i, typed), seen.get(key))
      }
    }),
    { numRuns: 30 }
  )
})
