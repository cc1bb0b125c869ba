import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { Effect } from "effect"
import { FreeSpace, type Need, requireSpace } from "./requireSpace.ts"

const folder = join(tmpdir(), "graft-nowhere", "inside")
const asked = (free: number | undefined, ...needs: ReadonlyArray<Need>) =>
  Effect.runPromise(Effect.result(Effect.provideService(requireSpace(needs, "make room"), FreeSpace, () => free)))
const failed = async (free: number, ...needs: ReadonlyArray<Need>) => {
  const result = await asked(free, ...needs)
  assert.equal(result._tag, "Failure")
  return result.failure
}
const weights: Need = { path: folder, bytes: 2_500_000_000, what: "the checkpoint" }

test("what does not fit is refused by folder, bytes needed, bytes free and what to do", async () => {
  const error = await failed(1_000_000, weights)
  assert.equal(error._tag, "NotEnoughDisk")
  assert.deepEqual([error.path, error.neededBytes, error.freeBytes], [folder, 2_500_000_000, 1_000_000])
  assert.equal(
    error.message,
    `${folder}: 2.50 GB (2,500,000,000 bytes) are to be written (the checkpoint), and the disk has 1.0 MB (1,000,000 bytes) free; make room`
  )
  assert.ok(!existsSync(folder), "asking makes nothing")
})
test("what goes to one disk is added up", async () => {
  const more: Need = { path: join(folder, "more"), bytes: 1000, what: "the spill file" }
  assert.equal((await asked(2_500_000_999, weights))._tag, "Success")
  const error = await failed(2_500_000_999, weights, more)
  assert.equal(error.neededBytes, 2_500_001_000)
  assert.match(error.message, /are to be written \(the checkpoint, 2\.50 GB .*; the spill file in .*more, 1\.0 kB/)
})
test("nothing needs no room, and a system that does not tell refuses nothing", async () => {
  assert.equal((await asked(0, { ...weights, bytes: 0 }))._tag, "Success")
  assert.equal((await asked(undefined, weights))._tag, "Success")
})
test("the system tells the room of a folder that is not there yet", async () => {
  const needs = (bytes: number) => Effect.runPromise(Effect.result(requireSpace([{ ...weights, bytes }], "make room")))
  assert.equal((await needs(1))._tag, "Success")
  const result = await needs(1e19)
  assert.ok(result._tag === "Failure" && result.failure.freeBytes > 0 && result.failure.freeBytes < 1e19)
})
