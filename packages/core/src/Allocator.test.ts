import assert from "node:assert/strict"
import test from "node:test"
import { Allocator, type ArenaLayout, type Category } from "./Allocator.ts"

const layout = (more: Partial<ArenaLayout> = {}): ArenaLayout => ({
  alignment: 64,
  maxBufferBytes: 2 ** 30,
  arenas: 1,
  arenaOf: () => 0,
  ...more
})

test("sizes are rounded up to the alignment, nothing takes no block", () => {
  const a = new Allocator([1024], layout())
  assert.deepEqual(
    [0, 1, 64, 65].map((bytes) => a.allocate(bytes, "weights").bytes),
    [64, 64, 64, 128]
  )
  assert.equal(a.liveBytes, 320)
})
test("the smallest hole that fits is taken, the lowest of equals, and holes meet when they touch", () => {
  const a = new Allocator([4096], layout())
  const cells = [256, 64, 128, 64, 128, 64].map((bytes) => a.allocate(bytes, "activations"))
  for (const i of [0, 2, 4]) a.free(cells[i]!)
  assert.equal(a.allocate(128, "activations").offset, cells[2]!.offset, "not the first, which is larger")
  assert.equal(a.allocate(64, "activations").offset, cells[4]!.offset)
  a.free(cells[1]!) // joins the hole before it: 320 bytes at 0
  assert.equal(a.allocate(320, "activations").offset, 0)
  assert.deepEqual(a.peaks, [704])
})
test("a hole at the end goes back to the top", () => {
  const a = new Allocator([1024], layout())
  const [first, second] = [a.allocate(512, "activations"), a.allocate(512, "activations")]
  a.free(first)
  a.free(second)
  assert.equal(a.allocate(1024, "activations").offset, 0)
  assert.deepEqual(a.peaks, [1024])
})
test("peaks are kept: of the sum at one moment, of each category at its own", () => {
  const a = new Allocator([4096], layout())
  const w = a.allocate(256, "weights")
  const x = a.allocate(512, "activations")
  a.free(x)
  const g = a.allocate(128, "gradients")
  a.free(g)
  a.free(w)
  assert.equal(a.liveBytes, 0)
  assert.deepEqual(a.peaks, [768])
  assert.deepEqual(Object.fromEntries(a.atPeak), { weights: 256, activations: 512 })
  assert.deepEqual(Object.fromEntries(a.peakByCategory), { weights: 256, activations: 512, gradients: 128 })
})
test("several arenas, each category in its own", () => {
  const arenaOf = (category: Category) => (category === "weights" ? 0 : 1)
  const a = new Allocator([128, 256], layout({ arenas: 2, arenaOf }))
  assert.deepEqual(
    [a.allocate(128, "weights"), a.allocate(64, "workspace")].map((c) => [c.arena, c.offset]),
    [
      [0, 0],
      [1, 0]
    ]
  )
  assert.throws(() => a.allocate(64, "weights"), /weights wants 64 bytes, the arena has 128/)
  assert.equal(a.allocate(192, "gradients").offset, 64)
  assert.deepEqual(a.peaks, [128, 256])
  const wrong = new Allocator([128], layout({ arenaOf: () => 3 }))
  assert.throws(() => wrong.allocate(1, "pages"), /internal: pages lies in arena 3 of 1/)
})
test("what does not fit says so, and changes nothing", () => {
  const a = new Allocator([256], layout({ maxBufferBytes: 128 }))
  a.allocate(128, "weights")
  assert.throws(() => a.allocate(192, "weights"), /one buffer of 192 bytes, this device binds at most 128/)
  a.allocate(128, "weights")
  assert.throws(() => a.allocate(1, "activations"), RangeError)
  assert.equal(a.liveBytes, 256)
})
test("a cell is freed once", () => {
  const a = new Allocator([256], layout())
  const cell = a.allocate(10, "pages")
  a.free(cell)
  assert.throws(() => a.free(cell), /internal: a pages cell of 64 bytes is freed twice/)
  assert.equal(a.liveBytes, 0)
})
test("against a slow allocator that keeps a byte map: 20,000 random steps", () => {
  const a = new Allocator([1 << 16], layout())
  const owners = new Uint16Array(1024) // 64-byte blocks
  const live: Array<{ readonly id: number; readonly cell: ReturnType<Allocator["allocate"]> }> = []
  let state = 1
  const random = (n: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % n
  }
  for (let id = 1; id <= 20_000; id++) {
    if (random(2) === 0 || live.length === 0) {
      const bytes = 1 + random(2000)
      const blocks = Math.ceil(bytes / 64)
      let cell: ReturnType<Allocator["allocate"]>
      try {
        cell = a.allocate(bytes, "activations")
      } catch {
        let run = 0
        for (const owner of owners) {
          run = owner === 0 ? run + 1 : 0
          assert.ok(run < blocks, "out of memory although it fits")
        }
        continue
      }
      const from = cell.offset / 64
      assert.ok(
        owners.subarray(from, from + blocks).every((owner) => owner === 0),
        "memory that is taken"
      )
      owners.fill(1 + (id % 60_000), from, from + blocks)
      live.push({ id, cell })
    } else {
      const [{ cell }] = live.splice(random(live.length), 1) as [(typeof live)[number]]
      owners.fill(0, cell.offset / 64, (cell.offset + cell.bytes) / 64)
      a.free(cell)
    }
    assert.equal(a.liveBytes, 64 * owners.reduce((n, owner) => n + Number(owner !== 0), 0))
  }
})
