import assert from "node:assert/strict"
import test from "node:test"
import type { Range } from "@graft/core"
import fc from "fast-check"
import { layOut, type StateLayout } from "./stateLayout.ts"
import { type Bits, BLOCK, runBytes, type States } from "./stateRecord.ts"

/** The layout looks at names and lengths alone. */
const rangesOf = (lengths: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<Range> =>
  lengths.map((of, i) => {
    let start = 0
    const parameters = of.map((length, j) => {
      start += length
      return { path: `${i}.${j}`, start: start - length, length }
    })
    return { group: `${i}`, decays: true, parameters } as unknown as Range
  })

/** Every element once, in order, no two records over one another, widths by size of tensor. */
const check = (
  ranges: ReadonlyArray<Range>,
  { pages, pieces, bytes }: StateLayout,
  bits: Bits,
  states: States,
  min8BitSize: number
): void => {
  const next = ranges.map(() => 0)
  for (const { parts, bytes: ofPage } of pages) {
    let end = 0
    for (const { range, start, count, bits: width, offset } of parts) {
      assert.equal(start, next[range])
      assert.equal(offset % 4, 0)
      assert.ok(offset >= end && offset < end + 4)
      end = offset + runBytes(width, states, count)
      next[range] = start + count
      for (const { start: from, length } of ranges[range]!.parameters) {
        const [low, high] = [Math.max(from, start), Math.min(from + length, start + count)]
        if (low >= high) continue
        assert.equal(width, length < min8BitSize ? 32 : bits)
        if (width === 8) assert.equal((from - start) % BLOCK === 0 || (start - from) % BLOCK === 0, true)
      }
    }
    assert.equal(end, ofPage)
  }
  for (const [i, { parameters }] of ranges.entries())
    assert.equal(
      next[i],
      parameters.reduce((n, p) => n + p.length, 0)
    )
  assert.equal(
    bytes,
    pieces.reduce((n, p) => n + p.bytes, 0)
  )
  let page = 0
  for (const piece of pieces) {
    assert.equal(piece.first, page)
    page += piece.count
    const last = pages[page - 1]!
    assert.equal(last.from + last.bytes, piece.bytes)
    for (let p = piece.first + 1; p < page; p++) {
      const gap = pages[p]!.from - pages[p - 1]!.from - pages[p - 1]!.bytes
      assert.ok(gap >= 0 && gap < 4)
    }
  }
  assert.equal(page, pages.length)
}
const lengths = fc.array(
  fc.array(
    fc.oneof(
      fc.nat(600),
      fc.nat(20_000),
      fc.nat(80).map((n) => n * 256)
    ),
    { maxLength: 8 }
  ),
  {
    maxLength: 4
  }
)
const widths = fc.constantFrom<readonly [Bits, States]>([8, 1], [8, 2], [32, 1], [32, 2])

test("every element has its place, whatever the sizes", () => {
  fc.assert(
    fc.property(
      lengths,
      widths,
      fc.nat(6000),
      fc.integer({ min: 2048, max: 100_000 }),
      (of, [bits, states], least, page) => {
        const ranges = rangesOf(of)
        const paged = layOut(ranges, { bits, states, min8BitSize: least, pageBytes: page })
        check(ranges, paged, bits, states, least)
        assert.ok(paged.pages.every(({ bytes }) => bytes <= page))
        const whole = layOut(ranges, { bits, states, min8BitSize: least })
        check(ranges, whole, bits, states, least)
        assert.deepEqual(
          paged.pieces.map((p) => p.bytes),
          whole.pieces.map((p) => p.bytes),
          "pieces do not depend on pages"
        )
      }
    )
  )
})
test("bytes a parameter", () => {
  const bytes = (bits: Bits, states: States, length: number) =>
    layOut(rangesOf([[length]]), { bits, states, min8BitSize: 4096 }).bytes / length
  assert.equal(bytes(32, 2, 10_000), 8)
  assert.equal(bytes(32, 1, 10_000), 4)
  assert.equal(bytes(8, 2, 40 * 256), 2.03125)
  assert.equal(bytes(8, 1, 40 * 256), 1.015625)
  assert.equal(bytes(8, 2, 4096), 2.03125)
  assert.equal(bytes(8, 2, 4095), 8, "a small tensor")
})
test("state of a large model has about a thousand pieces", () => {
  const { pieces, pages } = layOut(rangesOf([[7_000_000_000]]), { bits: 32, states: 2, min8BitSize: 4096 })
  assert.ok(pieces.length > 500 && pieces.length < 1100, `${pieces.length}`)
  assert.equal(pages.length, pieces.length)
})
