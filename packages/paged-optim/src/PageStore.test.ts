/**
 * The page store against the obvious model, pages in a map that are never anywhere else: random bounds, visits in any order,
 * evictions, and runs that die between a write and its sync, after which another run finds nothing of theirs.
 */
import assert from "node:assert/strict"
import fs, { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import test, { after } from "node:test"
import fc from "fast-check"
import { type Backing, fileBacking, memoryBacking, PageStore } from "./PageStore.ts"
import { SpillError } from "./SpillError.ts"
import { HEADER_BYTES, SpillFolder } from "./SpillFolder.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-pages-"))
after(() => rmSync(folder, { recursive: true, force: true }))

const PAGE = 64
interface Use {
  readonly page: number
  readonly reads: boolean
  readonly writes: boolean
  readonly value: number
}
const uses = fc.array(
  fc.record({ page: fc.nat(11), reads: fc.boolean(), writes: fc.boolean(), value: fc.integer({ min: 1, max: 255 }) }),
  { maxLength: 60 }
)
/** Plays the uses through a store with so many frames; each page through its own, as the program does. */
const play = (backing: Backing, frames: number, sequence: ReadonlyArray<Use>): void => {
  const store = new PageStore(backing, frames)
  store.reserve(12)
  const memory = Array.from({ length: frames }, () => new Uint8Array(PAGE).fill(0xff))
  const pages = new Map<number, Uint8Array>()
  for (const { page, reads, writes, value } of sequence) {
    const frame = memory[page % frames]!
    store.bring(page % frames, frame, page, { reads, writes })
    // What nobody wants to read may be anything; then it is written whole.
    if (reads) assert.deepEqual(frame, pages.get(page) ?? new Uint8Array(PAGE), `page ${page}`)
    if (writes) {
      if (reads) frame[value % PAGE] = value
      else frame.fill(value)
      pages.set(page, frame.slice())
    } else if (!reads) frame.set(pages.get(page) ?? new Uint8Array(PAGE))
    const { faults, bytesIn, bytesOut } = store.takeTraffic()
    assert.ok(faults <= 1 && bytesIn <= faults * PAGE && bytesOut <= faults * PAGE)
    assert.equal(store.takeTraffic().faults, 0, "taken")
  }
}
/** A page that is brought and neither read nor written again: nothing to be learnt from it. */
const sensible = (sequence: ReadonlyArray<Use>) => sequence.filter(({ reads, writes }) => reads || writes)

test("in the host's memory and in a file, a store is what it stands for, for any number of frames", () => {
  const spill = new SpillFolder(folder)
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), uses, (frames, sequence) => {
      play(memoryBacking(), frames, sensible(sequence))
      const file = spill.create(12 * PAGE)
      play(fileBacking(file, PAGE), frames, sensible(sequence))
      spill.close()
    }),
    { numRuns: 60 }
  )
  assert.deepEqual(readdirSync(folder), [])
})
test("a run that died at any point leaves nothing to the next but its room", () => {
  fc.assert(
    fc.property(fc.nat(12 * PAGE), fc.integer({ min: 1, max: 4 }), uses, (written, frames, sequence) => {
      // Its header and some of what it wrote reached the disk, the rest did not.
      const dead = new SpillFolder(folder).create(12 * PAGE)
      const header = readFileSync(dead.path).subarray(0, HEADER_BYTES)
      fs.closeSync(dead.descriptor)
      const owner = `{"host":${JSON.stringify(hostname())},"pid":${process.pid}}`
      const text = header.toString("latin1").replace(owner, owner.replace(`${process.pid}`, "4194304"))
      writeFileSync(
        dead.path,
        Buffer.concat([Buffer.from(text, "latin1").subarray(0, HEADER_BYTES), Buffer.alloc(written, 7)])
      )
      const spill = new SpillFolder(folder)
      const file = spill.create(12 * PAGE)
      assert.ok(!existsSync(dead.path), "its room is free")
      play(fileBacking(file, PAGE), frames, sensible(sequence))
      spill.close()
    }),
    { numRuns: 20 }
  )
  assert.deepEqual(readdirSync(folder), [])
})
test("files of a run that lives, and of others than us, are left alone", () => {
  const [one, other] = [new SpillFolder(folder), new SpillFolder(folder)]
  const mine = one.create(100)
  writeFileSync(join(folder, "notes.graft-spill"), "not ours")
  const theirs = other.create(100)
  assert.notEqual(mine.path, theirs.path)
  other.close()
  assert.ok(existsSync(mine.path))
  assert.equal(readFileSync(join(folder, "notes.graft-spill"), "utf8"), "not ours")
  one.close()
  assert.deepEqual(readdirSync(folder), ["notes.graft-spill"])
  rmSync(join(folder, "notes.graft-spill"))
})
test("a folder that is none, cannot be written to or has no room is refused by name, and nothing is left", () => {
  const refused = (body: () => unknown, reason: string, message: RegExp) =>
    assert.throws(body, (e) => e instanceof SpillError && e.reason === reason && message.test(e.message))
  refused(() => new SpillFolder(join(folder, "none")), "folder", /none does not exist; give a folder/)
  writeFileSync(join(folder, "file"), "")
  refused(() => new SpillFolder(join(folder, "file")), "folder", /is not a folder/)
  rmSync(join(folder, "file"))
  if (existsSync("/proc/self")) refused(() => new SpillFolder("/proc/self"), "folder", /./)
  const spill = new SpillFolder(folder)
  refused(() => spill.create(2 ** 50), "full", /needs 1073741824\.0 MiB, and there are [\d.]+ MiB; free some/)
  assert.deepEqual(readdirSync(folder), [])
})
test("a disk that fills while the file gets its size is an error that says so", () => {
  if (!existsSync("/dev/full")) return
  const descriptor = fs.openSync("/dev/full", "r+")
  const backing = fileBacking({ path: "/dev/full", token: new Uint8Array(16), descriptor }, PAGE)
  assert.throws(
    () => new PageStore(backing, 1).reserve(2),
    (e) => e instanceof SpillError && e.reason === "full" && /there is no room for it \(ENOSPC\)/.test(e.message)
  )
  fs.closeSync(descriptor)
})
