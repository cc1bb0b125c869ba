import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import test from "node:test"
import { assertSame, ToyAdapter, ToyDataset, toyDocument, toyLora } from "@graft/testing"
import { adapterIn, collect, failure, folderStore, inFolder, losses, only, stack, until } from "./trainerUnderTest.ts"

test("a run that goes on from a checkpoint has the bits of one that was never interrupted", () =>
  inFolder(async (folder) => {
    const options = { steps: 8, saveEvery: 3, learningRate: 0.02, schedule: "linear", warmup: 0.25 } as const
    const adapter = ToyAdapter.layer(toyLora({ dropout: 0.2 }))
    const [whole, part] = [join(folder, "whole"), join(folder, "part")]
    const one = await collect(stack(options, { adapter, store: folderStore(whole) }))
    assert.deepEqual(
      only(one, "Checkpoint").map(({ step }) => step),
      [3, 6, 8]
    )
    // Killed some time after its second checkpoint, with steps under way.
    const cut = await until(
      stack(options, { adapter, store: folderStore(part) }),
      (e) => e._tag === "Step" && e.step === 7,
      "interrupt"
    )
    assertSame(losses(cut), losses(one).slice(0, losses(cut).length), "before the cut")
    const rest = await collect(stack({ ...options, resume: true }, { adapter, store: folderStore(part) }))
    assert.equal(only(rest, "Resume")[0]!.step, 6)
    assert.deepEqual(
      only(rest, "Step").map(({ step }) => step),
      [7, 8]
    )
    assertSame(losses(rest), losses(one).slice(6), "after it")
    assertSame(adapterIn(part), adapterIn(whole), "the adapter")
    const again = await collect(stack({ ...options, resume: true }, { adapter, store: folderStore(part) }))
    assert.deepEqual(losses(again), [], "a run that is over has nothing left to do")
    assertSame(adapterIn(part), adapterIn(whole), "the adapter")
  }))
test("a checkpoint of another run is refused before a step", () =>
  inFolder(async (folder) => {
    const store = folderStore(folder)
    await collect(stack({ steps: 2 }, { store }))
    for (const [options, given] of [
      [{ steps: 2, learningRate: 0.5 }, {}],
      [{ steps: 2, seed: 4 }, {}],
      [{ steps: 3 }, {}],
      [{ steps: 2 }, { data: ToyDataset.layer({ fingerprint: "other rows" }) }]
    ] as const) {
      const e = await failure(stack({ ...options, resume: true }, { ...given, store }))
      assert.equal(e._tag, "CheckpointError")
      assert.match(e.message, /state\.json: was made by another run, with other (options|data)/)
      if ("learningRate" in options) assert.match(e.message, /options \(learningRate 0\.0002 there, 0\.5 here\); give/)
    }
    const fresh = await failure(
      stack({ steps: 2, resume: true }, { store, adapter: ToyAdapter.layer(toyLora({ rank: 2 })) })
    )
    assert.match(fresh.message, /with other options/)
  }))
test("a run stopped in its midst saves the adapter of its last update, from which another goes on", () =>
  inFolder(async (folder) => {
    const options = { steps: 60, learningRate: 0.01 }
    const [whole, part] = [join(folder, "whole"), join(folder, "part")]
    const events = await until(
      stack(options, { store: folderStore(part) }),
      (e) => e._tag === "Step" && e.step === 5,
      "stop"
    )
    const done = events.at(-1)!
    assert.ok(done._tag === "Done" && done.interrupted && done.steps >= 5 && done.steps < 60, JSON.stringify(done))
    assert.equal(events.at(-2)!._tag, "Checkpoint")
    const reference = await collect(stack({ ...options, saveEvery: done.steps }, { store: folderStore(whole) }))
    const rest = await collect(stack({ ...options, resume: true }, { store: folderStore(part) }))
    assert.equal(only(rest, "Resume")[0]!.step, done.steps)
    assertSame(losses(rest), losses(reference).slice(done.steps), "losses after the stop")
    assertSame(adapterIn(part), adapterIn(whole), "the adapter at the end")
  }))
test("a run stopped while it waits for its first evaluation ends too", async () => {
  const evaluation = Array.from({ length: 40 }, (_, i) => [toyDocument(i, 60)])
  const events = await until(
    stack({ steps: 5 }, { data: ToyDataset.layer({ evaluation }) }),
    (e) => e._tag === "Load",
    "stop"
  )
  const done = events.at(-1)!
  assert.ok(done._tag === "Done" && done.interrupted && done.steps === 0, JSON.stringify(done))
  assert.equal(only(events, "Step").length, 0)
})
test("interruption ends a run within a step, and closes the device", async () => {
  const from = performance.now()
  const seen = await until(stack({ steps: 100_000 }), (e) => e._tag === "Step" && e.step === 3, "interrupt")
  assert.ok(only(seen, "Step").length < 1000 && performance.now() - from < 5000)
})
test("timers tick through a long step, and its progress is told", async () => {
  const documents = Array.from({ length: 200 }, (_, i) => toyDocument(i, 60))
  let ticks = 0
  const timer = setInterval(() => ticks++, 10)
  const events = await collect(stack({ steps: 2 }, { data: ToyDataset.layer({ batches: () => [documents] }) }))
  clearInterval(timer)
  const progress = only(events, "Progress")
  assert.ok(progress.length >= 2, `${progress.length} reports of progress`)
  for (const step of [1, 2]) {
    const own = progress.filter((e) => e.step === step).map(({ fraction }) => fraction)
    assert.deepEqual(
      own,
      [...own].sort((a, b) => a - b)
    )
    assert.ok(own.every((f) => f >= 0 && f < 1))
  }
  assert.ok(ticks >= 10, `${ticks} ticks`)
})
test("a stop while the model loads ends the run without a step or a checkpoint", () =>
  inFolder(async (folder) => {
    const events = await until(
      stack({ steps: 5 }, { store: folderStore(join(folder, "run")) }),
      (e) => e._tag === "Load",
      "stop"
    )
    const tags = events.map(({ _tag }) => _tag)
    assert.deepEqual([tags[0], tags.at(-1)], ["Plan", "Done"])
    assert.ok(tags.slice(1, -1).every((tag) => tag === "Load") && tags.length < 10, tags.join(" "))
    const done = events.at(-1)!
    assert.ok(done._tag === "Done" && done.interrupted && done.steps === 0)
    assert.ok(!existsSync(join(folder, "run", "state")))
  }))
