import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { NodeServices } from "@effect/platform-node"
import {
  AdamW,
  type Adapter,
  applyMatrix,
  type Backend,
  type BadOptions,
  Collective,
  collate,
  type Dataset,
  Dense,
  fill,
  Graph,
  type Kernels,
  MetaQueue,
  type ModelLoader,
  type Optimizer,
  outFeatures,
  type Queue,
  Reference,
  Scope,
  type Tensor,
  type TrainError,
  type TrainEvent,
  Trainer as TrainerService
} from "@graft/core"
import {
  assertClose,
  assertSame,
  fullTraining,
  ToyAdapter,
  ToyDataset,
  ToyLoader,
  toyDocument,
  toyLora
} from "@graft/testing"
import { Cause, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { FolderStore } from "./FolderStore.ts"
import { Sampling } from "./Sampling.ts"
import { Sweep, type Variant } from "./Sweep.ts"
import { Trainer } from "./Trainer.ts"

type Options = Parameters<typeof Trainer.layer>[0]
type Stack = Layer.Layer<TrainerService, BadOptions>
interface Given {
  readonly data?: Layer.Layer<Dataset>
  readonly adapter?: Layer.Layer<Adapter, never, ModelLoader>
  readonly store?: Layer.Layer<never>
  readonly backend?: Layer.Layer<Backend | Kernels>
  readonly optimizer?: Layer.Layer<Optimizer>
  readonly variants?: ReadonlyArray<Variant>
  readonly sampling?: Layer.Layer<never>
}
const stack = (
  options: Options,
  {
    data = ToyDataset.layer(),
    adapter = ToyAdapter.layer(),
    store = Layer.empty,
    backend = Reference.layer,
    optimizer = AdamW.layer() as Layer.Layer<Optimizer>, // its options are the defaults, which decode
    variants,
    sampling = Layer.empty
  }: Given = {}
): Stack =>
  Trainer.layer(options).pipe(
    Layer.provide(Layer.mergeAll(store, sampling, variants === undefined ? Layer.empty : Sweep.layer(variants))),
    Layer.provide(optimizer),
    Layer.provide(data),
    Layer.provide(adapter),
    Layer.provide(ToyLoader.layer()),
    Layer.provide(Dense.layer),
    Layer.provide(backend)
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

const heldOut = { evaluation: [[toyDocument(0), toyDocument(1, 7)], [toyDocument(3, 9, 2)]] }
test("an evaluation tells perplexity and the share of tokens ranked first", async () => {
  const evals = only(
    await collect(stack({ steps: 60, learningRate: 0.05 }, { data: ToyDataset.layer(heldOut) })),
    "Eval"
  )
  for (const { loss, perplexity, accuracy, tokens } of evals) {
    assert.equal(perplexity, Math.exp(loss))
    assert.ok(accuracy >= 0 && accuracy <= 1 && Number.isInteger(Math.round(accuracy * tokens * 1e6) / 1e6))
  }
  assert.ok(evals.at(-1)!.accuracy > 0.8 && evals[0]!.accuracy < 0.5, JSON.stringify(evals))
})
test("early stopping ends behind `patience` evaluations without a better loss; the best adapter is kept", () =>
  inFolder(async (folder) => {
    // Held-out rows that the training rows teach the wrong thing about.
    const wrong = { ...toyDocument(0), targets: Array.from(toyDocument(2).ids, (id) => (id + 3) % 32) }
    const data = ToyDataset.layer({ evaluation: [[wrong]] })
    const options = { steps: 40, learningRate: 0.05, evalEvery: 2, patience: 3, keepBest: true, minDelta: 1e-4 }
    const events = await collect(stack(options, { data, store: folderStore(folder) }))
    const evals = only(events, "Eval").slice(1)
    const done = events.at(-1)!
    const best = evals.reduce((a, b) => (b.loss < a.loss - 1e-4 ? b : a))
    assert.ok(done._tag === "Done" && !done.interrupted && done.steps < 40, JSON.stringify(done))
    assert.equal(done.steps, best.step + 2 * 3)
    assert.match(done.early!, new RegExp(`lower than [\\d.]+ of step ${best.step} for 3 evaluations`))
    const kept = only(events, "Checkpoint").filter((e) => e.best !== undefined)
    assert.deepEqual([kept.at(-1)!.step, kept.at(-1)!.best], [best.step, best.loss])
    const alone = join(folder, "alone")
    await collect(stack({ steps: best.step, learningRate: 0.05 }, { data, store: folderStore(alone) }))
    assertSame(adapterIn(join(folder, "best")), adapterIn(alone), "the best adapter is that of its step")
    const again = await collect(stack({ ...options, resume: true }, { data, store: folderStore(folder) }))
    assert.deepEqual([losses(again).length, only(again, "Done")[0]!.early], [0, done.early], "it is over")
    for (const [wanting, message] of [
      [{ patience: 1, evalEvery: 1 }, /needs held-out rows/],
      [{ keepBest: true }, /keepBest.*needs held-out rows/]
    ] as const)
      assert.match((await failure(stack({ steps: 4, ...wanting }))).message, message)
    assert.match((await failure(stack({ steps: 4, patience: 1 }, { data }))).message, /set evalEvery/)
  }))
test("early stopping goes on counting where it was", () =>
  inFolder(async (folder) => {
    const wrong = { ...toyDocument(0), targets: Array.from(toyDocument(2).ids, (id) => (id + 3) % 32) }
    const given = { data: ToyDataset.layer({ evaluation: [[wrong]] }), store: folderStore(folder) }
    const options = { steps: 40, learningRate: 0.05, evalEvery: 2, patience: 3, saveEvery: 1 }
    const whole = await collect(stack(options, { ...given, store: Layer.empty }))
    const until_ = only(whole, "Done")[0]!.steps
    const cut = await until(stack(options, given), (e) => e._tag === "Step" && e.step === until_ - 3, "interrupt")
    assert.ok(only(cut, "Done").length === 0)
    const rest = await collect(stack({ ...options, resume: true }, given))
    assert.deepEqual(only(rest, "Done")[0]!.steps, until_)
    assert.equal(only(rest, "Done")[0]!.early, only(whole, "Done")[0]!.early)
  }))

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
test("samples come before, between and after, in planned memory", async () => {
  let fed = 0
  const sampling = Sampling.layer({
    prompts: [{ prompt: "one two", ids: [1, 2] }],
    every: 2,
    maxNewTokens: 4,
    stopIds: [],
    textOf: (ids) => ids.join(" "),
    // Without a cache: the whole text each time.
    makeDecoder: (queue, model, { compute, overrides }) => {
      const text: Array<number> = []
      return {
        feed: (ids) => {
          text.push(...ids)
          fed++
          using inBatch = new Scope(queue, "activations")
          using g = new Graph(queue, { overrides, activations: compute })
          const documents = [{ sample: 0, ids: text, targets: [] }]
          const hidden = model.forward(g, collate(inBatch, documents, { seed: 0, step: 0, training: false }))
          const logits = g.tensor([1, outFeatures(model.head)], "logits", "f32")
          applyMatrix(g, logits, hidden, model.head, { xRow: text.length - 1, rows: 1 })
          return queue.read(logits)
        },
        [Symbol.dispose]: () => {}
      }
    }
  })
  const events = await collect(stack({ steps: 5, learningRate: 0.05 }, { sampling }))
  const samples = only(events, "Sample")
  assert.deepEqual(
    samples.map(({ step }) => step),
    [0, 2, 4, 5]
  )
  assert.ok(samples.every(({ prompt, text }) => prompt === "one two" && text.split(" ").length === 4))
  assert.ok(fed > 16, "on the meta queue too")
  assertSame(losses(events), losses(await collect(stack({ steps: 5, learningRate: 0.05 }))), "they change nothing")
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
