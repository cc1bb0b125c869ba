import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import test from "node:test"
import { Dense, Reference, Trainer as TrainerService } from "@graft/core"
import { assertClose, assertSame, ToyAdapter, ToyDataset, toyDocument, toyLora } from "@graft/testing"
import { Cause, Effect, Exit, Layer, Stream } from "effect"
import {
  collect,
  failure,
  folderStore,
  inFolder,
  losses,
  type Options,
  only,
  stack,
  type Tag
} from "./trainerUnderTest.ts"

test("a run plans, loads, steps, saves and is done, in exactly the planned bytes, twice with the same bits", () =>
  inFolder(async (folder) => {
    const layer = () =>
      stack({ steps: 12, learningRate: 0.02, schedule: "cosine", warmup: 2 }, { store: folderStore(folder) })
    const [one, two] = [await collect(layer()), await collect(layer())]
    const tags = one.map((e) => e._tag).filter((tag) => tag !== "Progress")
    const loads = tags.filter((tag) => tag === "Load").length
    assert.ok(loads >= 20, "one for each tensor")
    assert.deepEqual(tags, [
      "Plan",
      ...Array<Tag>(loads).fill("Load"),
      ...Array<Tag>(12).fill("Step"),
      "Checkpoint",
      "Done"
    ])
    const [plan, done] = [only(one, "Plan")[0]!, only(one, "Done")[0]!]
    assert.deepEqual([done.steps, done.interrupted], [12, false])
    assert.equal(done.peakBytes, plan.memory.peakBytes)
    assert.equal(done.plannedBytes, plan.memory.peakBytes)
    assert.deepEqual([plan.steps, plan.stepsPerEpoch, plan.compute], [12, 2, "f32"])
    for (const part of [
      "trainer",
      "reference backend",
      "dense weights",
      "toy loader",
      "toy adapter",
      "AdamW",
      "toy data",
      "folder store"
    ])
      assert.ok(plan.parts.includes(part), `${part} in ${plan.parts}`)
    const steps = only(one, "Step")
    assert.deepEqual(
      steps.map(({ step }) => step),
      Array.from({ length: 12 }, (_, i) => i + 1)
    )
    assertClose(
      steps.slice(0, 3).map(({ learningRate }) => learningRate),
      [0, 0.01, 0.02],
      1e-12,
      "warm-up"
    )
    assert.deepEqual(
      steps.slice(0, 2).map(({ tokens }) => tokens),
      [29, 27]
    )
    assert.ok(steps.every(({ tokensPerSecond, gradNorm }) => tokensPerSecond > 0 && gradNorm > 0))
    assert.ok(losses(one).at(-1)! < 0.9 * losses(one)[0]!, losses(one).join(" "))
    assertSame(losses(two), losses(one), "losses")
    const last = only(one, "Load").at(-1)!
    assert.equal(
      last.loadedBytes,
      only(one, "Load").reduce((n, { bytes }) => n + bytes, 0)
    )
    assert.ok(existsSync(join(folder, "adapter.json")) && existsSync(join(folder, "state", "state.json")))
    assert.equal(only(one, "Checkpoint")[0]!.path, folder)
  }))
test("the plan alone reads nothing and runs nothing", async () => {
  const plan = await Effect.runPromise(TrainerService.use((t) => t.plan).pipe(Effect.provide(stack({ steps: 3 }))))
  assert.equal(plan._tag, "Plan")
  assert.ok(plan.opsPerStep > 100 && plan.trainableParameters > 0 && plan.memory.peakBytes > 0)
})
test("every shape of every step is planned, however late it comes", async () => {
  const batches = (step: number) => [[toyDocument(step, step === 9 ? 50 : 4)]]
  const events = await collect(stack({ steps: 10 }, { data: ToyDataset.layer({ stepsPerEpoch: 2, batches }) }))
  const [plan, done] = [only(events, "Plan")[0]!, only(events, "Done")[0]!]
  assert.equal(done.peakBytes, plan.memory.peakBytes)
  assert.equal(done.steps, 10)
})
test("a seed that the generator cannot take is refused", async () => {
  for (const seed of [2 ** 32, -1, 0.5]) {
    const e = await failure(stack({ steps: 1, seed }))
    assert.match(e.message, /seed|integer/)
  }
  assert.match(
    (await failure(stack({ steps: 1, seed: 2 ** 32 }))).message,
    /0 to 4294967295: the random generator takes 32/
  )
  await collect(stack({ steps: 1, seed: 2 ** 32 - 1 }))
})
test("the recorder tells every op of every step, the same twice, and where two runs part", async () => {
  const fly = async (options: Partial<Options> = {}) => {
    const events = await collect(
      stack(
        { steps: 3, learningRate: 0.02, record: true, ...options },
        { backend: Reference.layerOf({ record: true }) }
      )
    )
    return only(events, "Flight")
  }
  const [one, two, other] = [await fly(), await fly(), await fly({ schedule: "linear" })]
  assert.deepEqual(
    one.map(({ step }) => step),
    [1, 2, 3]
  )
  assert.ok(one[0]!.ops.length > 100 && one[0]!.ops.every(([, hash]) => /^[0-9a-f]{16}$/.test(hash)))
  assert.deepEqual(two, one)
  assert.deepEqual(other[0], one[0])
  const at = other[1]!.ops.findIndex(([, hash], i) => hash !== one[1]!.ops[i]![1])
  assert.equal(other[1]!.ops[at]![0], "adamW", "the second step's rate is another")
})
test("what cannot be trained on is refused by row", async () => {
  const bad = (ids: ReadonlyArray<number>) => ({ sample: 17, ids, targets: ids })
  for (const [document, message] of [
    [bad([1, 2, 32]), /row 17 of the data: token 32 at place 2 is not in the vocabulary of toy \(0 … 31\)/],
    [bad([1, -1]), /token -1 at place 1/],
    [
      bad(Array<number>(65).fill(1)),
      /row 17 of the data has 65 tokens, but toy has 64 positions; set a smaller max length/
    ]
  ] as const) {
    const train = await failure(
      stack({ steps: 3 }, { data: ToyDataset.layer({ batches: (step) => [[step === 2 ? document : toyDocument(1)]] }) })
    )
    assert.equal(train._tag, "BadStack")
    assert.match(train.message, message)
    const held = await failure(stack({ steps: 1 }, { data: ToyDataset.layer({ evaluation: [[document]] }) }))
    assert.match(held.message, message)
  }
})
test("a data set that fails ends the run, it does not hang", async () => {
  let calls = 0 // the plan goes through all 50 steps
  const batches = () => {
    if (++calls > 50 + 3) throw new RangeError("the disk is gone")
    return [[toyDocument(1)]]
  }
  const exit = await Effect.runPromiseExit(
    TrainerService.use(({ run }) => Stream.runDrain(run)).pipe(
      Effect.provide(stack({ steps: 50 }, { data: ToyDataset.layer({ batches }) })),
      Effect.timeout(5000)
    )
  )
  assert.ok(Exit.isFailure(exit))
  assert.match(Cause.pretty(exit.cause), /the disk is gone/)
})
test("an adapter that cannot work on the model is refused before anything is read", async () => {
  const e = await failure(stack({ steps: 1 }, { adapter: ToyAdapter.layer(toyLora({ targets: () => false })) }))
  assert.equal(e._tag, "BadStack")
  assert.match(e.message, /no linear is a target/)
})
test("options are decoded when the layer is built", async () => {
  const wrong = { steps: 0, learningRates: 1, schedule: "square" } as unknown as Options // wrong on purpose
  const e = await failure(stack(wrong))
  assert.equal(e._tag, "BadOptions")
  assert.match(e.message, /no option learningRates, did you mean learningRate\?/)
  assert.match(e.message, /steps/)
  assert.match(e.message, /schedule/)
})
test("a part that is provided and not used is an error", async () => {
  const extra = stack({ steps: 1 }).pipe(Layer.provide(Dense.layerOf("bf16")))
  const e = await failure(extra)
  assert.equal(e._tag, "UnusedParts")
  assert.match(e.message, /provided but not used: dense weights bf16; leave it out/)
})
