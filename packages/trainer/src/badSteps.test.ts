import assert from "node:assert/strict"
import { join } from "node:path"
import test from "node:test"
import { Collective, fill, MetaQueue, type Queue, type Tensor } from "@graft/core"
import { assertSame, ToyAdapter, ToyDataset, toyDocument, toyLora } from "@graft/testing"
import { Layer } from "effect"
import { adapterIn, collect, failure, folderStore, inFolder, losses, only, stack } from "./trainerUnderTest.ts"

test("a loss that is not finite ends the run with the rows of the step", async () => {
  const e = await failure(stack({ steps: 4 }, { adapter: ToyAdapter.layer(toyLora({ sizeOfB: NaN })) }))
  assert.equal(e._tag, "NotFinite")
  assert.match(e.message, /step 1: loss NaN, gradient norm NaN, in row 0, row 1, row 2; the update was not applied/)
})
/** After the steps in `when`, counted from 1, one gradient is not finite. */
const overflowing = (when: (step: number) => boolean) => {
  let step = 0
  return Layer.succeed(Collective, {
    allReduce: (queue: Queue, [gradients]: ReadonlyArray<Tensor>) => {
      if (!queue.muted && !(queue instanceof MetaQueue) && when(++step))
        queue.enqueue(fill, [gradients!], { value: Infinity })
    }
  })
}
test("a gradient that is not finite is skipped and told; the others count", async () => {
  const events = await collect(stack({ steps: 5, learningRate: 0.02 }, { store: overflowing((step) => step === 3) }))
  assert.deepEqual(
    events.flatMap((e) => (e._tag === "Step" || e._tag === "Skipped" ? [`${e._tag} ${e.step}`] : [])),
    ["Step 1", "Step 2", "Skipped 3", "Step 4", "Step 5"]
  )
  const [skipped] = only(events, "Skipped")
  assert.ok(Number.isFinite(skipped!.loss) && skipped!.gradNorm === Infinity && skipped!.rows.length > 0)
  assert.equal(only(events, "Done")[0]!.steps, 5)
  // Step 4 sees what steps 1 and 2 made: the loss of its rows in a run whose third step has no rate to learn at.
  assert.ok(losses(events).every(Number.isFinite))
})
test("a run whose gradients are never finite is given up", async () => {
  const e = await failure(stack({ steps: 40 }, { store: overflowing((step) => step > 2) }))
  assert.equal(e._tag, "NotFinite")
  assert.match(e.message, /step 13: loss [\d.]+, gradient norm Infinity/)
})
/** Rows whose loss is far from what the toy has learnt, from step `at` on. */
const spiking = (at: number) => {
  const odd = (sample: number) => {
    const { ids } = toyDocument(sample)
    const other = Array.from({ length: ids.length }, (_, i) => (ids[i]! + 13 + 5 * (i % 3)) % 32)
    return { sample, ids, targets: other }
  }
  return ToyDataset.layer({ stepsPerEpoch: 1, batches: (step) => [[step === at ? odd(9) : toyDocument(1, 20)]] })
}
const fast = { steps: 16, learningRate: 0.05 }
test("a spike of the loss is not applied: the run ends with the rows, the limit and what is kept of the step before", () =>
  inFolder(async (folder) => {
    const [broken, whole] = [join(folder, "broken"), join(folder, "whole")]
    const given = { data: spiking(14), store: folderStore(broken) }
    const calm = await collect(stack(fast, { data: spiking(14) }))
    assert.equal(only(calm, "Step").length, 16, "without a factor no loss is a spike")
    const e = await failure(stack({ ...fast, spikeFactor: 1.5 }, given))
    assert.ok(e._tag === "NotFinite" && e.limit !== undefined && e.loss > e.limit, e.message)
    assert.match(
      e.message,
      /^step 14: loss [\d.]+, above [\d.]+, the limit of a spike, .* in row 9; the update was not/
    )
    assert.ok(e.message.includes(`${broken} holds the adapter as of step 13`), e.message)
    await collect(stack({ ...fast, saveEvery: 13, steps: 13 }, { data: spiking(14), store: folderStore(whole) }))
    assertSame(adapterIn(broken), adapterIn(whole), "the adapter as of step 13, although step 14 was queued")
    // The run may go on past the step if it is told to.
    const rest = await collect(stack({ ...fast, spikeFactor: 1.5, badSteps: "skip", resume: true }, given))
    assert.deepEqual(
      rest.flatMap((event) =>
        event._tag === "Step" || event._tag === "Skipped" ? [`${event._tag} ${event.step}`] : []
      ),
      ["Skipped 14", "Step 15", "Step 16"]
    )
    const [skipped] = only(rest, "Skipped")
    assert.deepEqual(skipped!.rows, ["row 9"])
    const unbroken = await collect(
      stack({ ...fast, spikeFactor: 1.5, badSteps: "skip" }, { ...given, store: folderStore(whole) })
    )
    assertSame(losses(unbroken).slice(-2), losses(rest), "a run that skipped at once")
    assertSame(adapterIn(broken), adapterIn(whole), "and its adapter")
  }))
test("skipping ends too, when nothing else comes", async () => {
  const adapter = ToyAdapter.layer(toyLora({ sizeOfB: NaN }))
  const e = await failure(stack({ steps: 40, badSteps: "skip" }, { adapter }))
  assert.ok(e._tag === "NotFinite" && e.step === 11, e.message)
})
test("a step without a token to learn is refused by its rows", async () => {
  const masked = { ...toyDocument(7), targets: Array<number>(10).fill(-1) }
  const batches = (step: number) => [[step === 3 ? masked : toyDocument(1)]]
  const e = await failure(stack({ steps: 5 }, { data: ToyDataset.layer({ batches }) }))
  assert.equal(e._tag, "BadStack")
  assert.match(e.message, /^step 3 has no token to learn: in row 7 all are masked or cut away\. Drop these rows/)
})
