import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { Effect } from "effect"
import { openWorkFolder } from "./workFolder.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-work-"))
after(() => rmSync(folder, { recursive: true, force: true }))
let made = 0
const fresh = () => join(folder, `${made++}`)
const work = (out: string) => join(out, ".quantizing")
const open = (out: string, plan: string, use: (piece: (index: number) => string, done: boolean) => void = () => {}) =>
  Effect.runPromise(Effect.scoped(Effect.map(openWorkFolder(out, plan), ({ piece, done }) => use(piece, done))))
const fails = (out: string, plan: string) =>
  Effect.runPromise(Effect.flip(Effect.scoped(openWorkFolder(out, plan)))).then(({ code }) => code)

test("finished weights stay for a run of the same plan and go for another", async () => {
  const out = fresh()
  await open(out, "a", (piece) => writeFileSync(piece(3), "x"))
  writeFileSync(join(work(out), "4.safetensors.0123456789ab.part"), "half")
  writeFileSync(join(out, "model.safetensors.0123456789ab.part"), "half")
  await open(out, "a", (piece, done) => assert.deepEqual([existsSync(piece(3)), done], [true, false]))
  assert.deepEqual([readdirSync(out), readdirSync(work(out)).sort()], [[".quantizing"], ["3.safetensors", "plan.json"]])
  await open(out, "b", (piece) => assert.equal(existsSync(piece(3)), false))
})

test("a whole model is another's unless the plan that made it is still there", async () => {
  const out = fresh()
  await open(out, "a")
  writeFileSync(join(out, "config.json"), "{}")
  await open(out, "a", (_, done) => assert.equal(done, true))
  assert.equal(await fails(out, "b"), "EEXIST")
  rmSync(work(out), { recursive: true })
  assert.equal(await fails(out, "a"), "EEXIST")
  assert.deepEqual(readdirSync(out), ["config.json"], "a refused run leaves nothing")
})

test("of two runs at once one at least is refused, in one process too; a lock goes with its run", async () => {
  const out = fresh()
  await Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        yield* openWorkFolder(out, "a")
        assert.equal(yield* Effect.promise(() => fails(out, "a")), "EBUSY")
      })
    )
  )
  assert.deepEqual(readdirSync(work(out)), ["plan.json"])
  // Left by a process of this number that ended.
  writeFileSync(join(work(out), `${process.pid}-0123456789ab.lock`), "")
  await open(out, "a")
  assert.deepEqual(readdirSync(work(out)), ["plan.json"])
})
