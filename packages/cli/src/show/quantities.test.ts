import assert from "node:assert/strict"
import { test } from "node:test"
import { bytes, count, duration, rate, whole } from "./quantities.ts"
import { table } from "./table.ts"

test("sizes, counts, times and rates as people read them", () => {
  assert.deepEqual([0, 999, 1000, 999_949, 999_950, 1_234_567, 999_950_000, 25_276_063_744].map(bytes), [
    "0 B",
    "999 B",
    "1.0 kB",
    "999.9 kB",
    "1.0 MB",
    "1.2 MB",
    "1.00 GB",
    "25.28 GB"
  ])
  assert.deepEqual([7, 999, 12_345, 134_515_008, 1.5e9, 2.21e12].map(count), [
    "7",
    "999",
    "12.3 k",
    "135 M",
    "1.5 G",
    "2.21 T"
  ])
  assert.deepEqual([0.04, 9.94, 59.4, 60, 125, 3599, 3600, 7620, NaN].map(duration), [
    "0.0 s",
    "9.9 s",
    "59 s",
    "1 min 00 s",
    "2 min 05 s",
    "59 min 59 s",
    "1 h 00 min",
    "2 h 07 min",
    "–"
  ])
  assert.deepEqual([9.87, 1234.5].map(rate), ["9.9", "1,235"])
  assert.equal(whole(1234567), "1,234,567")
})

test("columns stand under each other, numbers to the right", () => {
  assert.equal(
    table([
      ["name", "n"],
      ["a", "100"]
    ]),
    "  name    n\n  a     100"
  )
})
