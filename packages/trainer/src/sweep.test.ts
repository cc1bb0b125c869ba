import assert from "node:assert/strict"
import { join } from "node:path"
import test from "node:test"
import { assertSame, fullTraining, ToyAdapter, ToyDataset, toyLora } from "@graft/testing"
import type { Variant } from "./Sweep.ts"
import {
  adapterIn,
  collect,
  failure,
  folderStore,
  heldOut,
  inFolder,
  losses,
  only,
  stack,
  until
} from "./trainerUnderTest.ts"

test("each adapter of a sweep has the bits that it has alone, also where the run was cut; memory is as planned", () =>
  inFolder(async (folder) => {
    const options = {
      steps: 6,
      learningRate: 0.02,
      schedule: "cosine",
      neftuneAlpha: 5,
      evalEvery: 3,
      keepBest: true
    } as const
    const data = ToyDataset.layer(heldOut)
    const plans = { "rank=2": toyLora({ rank: 2, dropout: 0.2 }), "rank=5": toyLora({ rank: 5, dropout: 0.2 }) }
    const variants: ReadonlyArray<Variant> = [
      ...Object.entries(plans).map(([name, adapter]) => ({ name, adapter })),
      { name: "lr=1e-3", learningRate: 1e-3, adapter: plans["rank=2"] }
    ]
    const alone = async (name: string, adapter: ReturnType<typeof toyLora>, learningRate: number) => {
      const store = folderStore(join(folder, "alone", name))
      return collect(stack({ ...options, learningRate }, { data, adapter: ToyAdapter.layer(adapter), store }))
    }
    const together = join(folder, "together")
    const given = { data, adapter: ToyAdapter.layer(plans["rank=2"]), variants, store: folderStore(together) }
    const events = await collect(stack(options, given))
    const [plan, done] = [only(events, "Plan")[0]!, only(events, "Done")[0]!]
    assert.deepEqual(plan.variants, ["rank=2", "rank=5", "lr=1e-3"])
    assert.equal(done.peakBytes, plan.memory.peakBytes)
    let parameters = 0
    for (const { name, adapter, learningRate = 0.02 } of variants) {
      const own = await alone(name, adapter!, learningRate)
      parameters += only(own, "Plan")[0]!.trainableParameters
      const steps = only(events, "Step").filter(({ variant }) => variant === name)
      assertSame(
        steps.map(({ loss }) => loss),
        losses(own),
        `${name}: losses`
      )
      assert.deepEqual(
        steps.map((e) => e.learningRate),
        only(own, "Step").map((e) => e.learningRate)
      )
      const evals = only(events, "Eval").filter(({ variant }) => variant === name)
      assert.deepEqual(
        evals.map(({ loss, accuracy }) => [loss, accuracy]),
        only(own, "Eval").map((e) => [e.loss, e.accuracy])
      )
      for (const part of [name, join(name, "best")])
        assertSame(adapterIn(join(together, part)), adapterIn(join(folder, "alone", part)), part)
      assert.ok(only(own, "Plan")[0]!.memory.byCategory.get("weights") === plan.memory.byCategory.get("weights"))
    }
    assert.equal(plan.trainableParameters, parameters)
    const broken = join(folder, "broken")
    const cut = { ...given, store: folderStore(broken) }
    await until(stack({ ...options, saveEvery: 2 }, cut), (e) => e._tag === "Step" && e.step === 5, "interrupt")
    await collect(stack({ ...options, resume: true }, cut))
    for (const { name } of variants) assertSame(adapterIn(join(broken, name)), adapterIn(join(together, name)), name)
  }))
test("an adapter of a sweep that diverges ends alone; names are folders, the base is frozen", async () => {
  const variants = [{ name: "good" }, { name: "bad", adapter: toyLora({ sizeOfB: NaN }) }]
  const events = await collect(stack({ steps: 4, learningRate: 0.02 }, { variants }))
  assert.deepEqual(
    only(events, "Warning").map(({ variant, step }) => [variant, step]),
    [["bad", 1]]
  )
  assertSame(losses(events), losses(await collect(stack({ steps: 4, learningRate: 0.02 }))), "the good one")
  for (const [names, message] of [
    [["a", "a"], /has a twice/],
    [["../up"], /names a folder/]
  ] as const)
    assert.match((await failure(stack({ steps: 1 }, { variants: names.map((name) => ({ name })) }))).message, message)
  const e = await failure(
    stack({ steps: 1 }, { adapter: ToyAdapter.layer(fullTraining), variants: [{ name: "a" }, { name: "b" }] })
  )
  assert.match(e.message, /a sweep trains adapters over one frozen base/)
})
