import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { NodeServices } from "@effect/platform-node"
import {
  AdamW,
  type Adapter,
  type Backend,
  type BadOptions,
  Collective,
  type Dataset,
  Dense,
  fill,
  type Kernels,
  MetaQueue,
  type ModelLoader,
  type Optimizer,
  type Queue,
  Reference,
  type Tensor,
  type TrainError,
  type TrainEvent,
  Trainer as TrainerService
} from "@graft/core"
import { assertClose, assertSame, ToyAdapter, ToyDataset, ToyLoader, toyDocument, toyLora } from "@graft/testing"
import { Cause, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { FolderStore } from "./FolderStore.ts"
import { Trainer } from "./Trainer.ts"

type Options = Parameters<typeof Trainer.layer>[0]
type Stack = Layer.Layer<TrainerService, BadOptions>
interface Given {
  readonly data?: Layer.Layer<Dataset>
  readonly adapter?: Layer.Layer<Adapter, never, ModelLoader>
  readonly store?: Layer.Layer<never>
}
const stack = (
  options: Options,
  { data = ToyDataset.layer(), adapter = ToyAdapter.layer(), store = Layer.empty }: Given = {}
): Stack =>
  Trainer.layer(options).pipe(
    Layer.provide(store),
    Layer.provide(AdamW.layer() as Layer.Layer<Optimizer>), // its options are the defaults, which decode
    Layer.provide(data),
    Layer.provide(adapter),
    Layer.provide(ToyLoader.layer()),
    Layer.provide(Dense.layer),
    Layer.provide(Reference.layer as Layer.Layer<Backend | Kernels>)
  )
const folderStore = (folder: string): Layer.Layer<never> =>
  FolderStore.layer(folder).pipe(Layer.provide(NodeServices.layer), Layer.orDie) // each folder is one run's

const inFolder = async (body: (folder: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "graft-trainer-"))
  try {
    await body(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

type Tag = TrainEvent["_tag"]
type Of<T extends Tag> = Extract<TrainEvent, { readonly _tag: T }>
const only = <T extends Tag>(events: ReadonlyArray<TrainEvent>, tag: T): ReadonlyArray<Of<T>> =>
  events.filter((e): e is Of<T> => e._tag === tag)
const collect = (layer: Stack): Promise<ReadonlyArray<TrainEvent>> =>
  Effect.runPromise(TrainerService.use(({ run }) => Stream.runCollect(run)).pipe(Effect.provide(layer)))
const failure = async (layer: Stack): Promise<TrainError | BadOptions> => {
  const exit = await Effect.runPromiseExit(
    TrainerService.use(({ run }) => Stream.runDrain(run)).pipe(Effect.provide(layer))
  )
  assert.ok(Exit.isFailure(exit), "the run succeeded")
  const [reason] = exit.cause.reasons
  return reason !== undefined && Cause.isFailReason(reason) ? reason.error : assert.fail(Cause.pretty(exit.cause))
}
/** Collects events until one is `last`, then does `and`. */
const until = (layer: Stack, last: (event: TrainEvent) => boolean, and: "interrupt" | "stop") =>
  Effect.runPromise(
    Effect.gen(function* () {
      const { run, stop } = yield* TrainerService
      const seen: Array<TrainEvent> = []
      const fiber: Fiber.Fiber<void, TrainError> = yield* Effect.forkChild(
        Stream.runForEach(run, (event) =>
          Effect.gen(function* () {
            seen.push(event)
            if (last(event)) yield* and === "stop" ? stop : Effect.never
          })
        )
      )
      if (and === "interrupt") {
        while (!seen.some(last)) yield* Effect.sleep(1)
        yield* Fiber.interrupt(fiber)
      } else yield* Fiber.join(fiber)
      return seen
    }).pipe(Effect.provide(layer))
  )
const losses = (events: ReadonlyArray<TrainEvent>): ReadonlyArray<number> =>
  only(events, "Step").map(({ loss }) => loss)
const adapterIn = (folder: string): ReadonlyArray<number> =>
  (
    JSON.parse(readFileSync(join(folder, "adapter.json"), "utf8")) as ReadonlyArray<{
      readonly values: ReadonlyArray<number>
    }>
  ) // toyLora wrote it
    .flatMap(({ values }) => values)

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
test("held-out loss is told before, between and after, and does not change the run", async () => {
  const evaluation = [[toyDocument(20)], [toyDocument(21, 8), toyDocument(22, 5, 3)]]
  const events = await collect(
    stack({ steps: 6, evalEvery: 2, learningRate: 0.02 }, { data: ToyDataset.layer({ evaluation }) })
  )
  assert.deepEqual(
    events.filter((e) => e._tag === "Eval" || e._tag === "Step").map((e) => `${e._tag} ${e.step}`),
    ["Eval 0", "Step 1", "Step 2", "Eval 2", "Step 3", "Step 4", "Eval 4", "Step 5", "Step 6", "Eval 6"]
  )
  const evals = only(events, "Eval")
  assert.ok(evals.every(({ tokens, loss }) => tokens === 9 + 7 + 1 && Number.isFinite(loss)))
  assert.equal(new Set(evals.map(({ loss }) => loss)).size, 4)
  assertSame(losses(events), losses(await collect(stack({ steps: 6, learningRate: 0.02 }))), "losses")
})
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
      [{ steps: 2 }, { data: ToyDataset.layer({ fingerprint: "other rows" }) }]
    ] as const) {
      const e = await failure(stack({ ...options, resume: true }, { ...given, store }))
      assert.equal(e._tag, "CheckpointError")
      assert.match(e.message, /state\.json: was made by another run, with other (options|data)/)
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
