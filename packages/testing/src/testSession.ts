/** A whole step of the toy on a backend: the reference's numbers, the plan's bytes, equal bits again and again. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  type ActivationDType,
  type AdapterPlan,
  type Limits,
  loadAtOnce,
  MetaQueue,
  type MicroBatch,
  type Queue,
  ReferenceQueue
} from "@graft/core"
import { makeSession, makeSessions, planOf, type Recipe, type Session, stepTogether } from "@graft/trainer"
import { arenasOf, type BackendUnderTest, hasDType, MiB, type Open } from "./BackendUnderTest.ts"
import { assertClose, assertSame } from "./closeness.ts"
import { fullTraining, toyLora } from "./toyAdapters.ts"
import { toyDocument } from "./toyData.ts"
import { toyRecipe } from "./toyRecipe.ts"

export const toyMicro: ReadonlyArray<MicroBatch> = [[toyDocument(0), toyDocument(1, 7, 2)], [toyDocument(2, 13)]]
export interface Curve {
  readonly losses: ReadonlyArray<number>
  readonly norms: ReadonlyArray<number>
  readonly parameters: ReadonlyArray<Float32Array>
}
/** Runs `steps` steps of the same micro-batches. */
export const runSteps = async (
  queue: Queue,
  session: Session,
  steps: number,
  micro: ReadonlyArray<MicroBatch> = toyMicro,
  from = 1
): Promise<Curve> => {
  const scalars: Array<Promise<ReadonlyArray<Float32Array>>> = []
  for (let step = from; step < from + steps; step++) {
    session.step(step, micro, 0.01, ({ loss, tokens, control }) => {
      scalars.push(Promise.all([loss, tokens, control].map((t) => queue.read(t))))
    })
  }
  const read = await Promise.all(scalars)
  return {
    losses: read.map(([loss, tokens]) => loss![0]! / tokens![0]!),
    norms: read.map(([, , control]) => control![3]!),
    parameters: await Promise.all(session.saved.map(({ values }) => values()))
  }
}
/** Opens a queue, runs a recipe on it and closes it; with exactly the planned memory unless told otherwise. */
export const runRecipe = async (
  { open, limits }: Pick<BackendUnderTest, "open" | "limits">,
  recipe: Recipe,
  steps: number,
  micro: ReadonlyArray<MicroBatch> = toyMicro
): Promise<Curve> => {
  const { memory } = planOf(limits, recipe, micro)
  const queue = await open(memory.arenaBytes)
  const session = loadAtOnce(makeSession(queue, recipe))
  const mark = queue.allocator.liveBytes
  const curve = await runSteps(queue, session, steps, micro)
  assert.equal(queue.allocator.liveBytes, mark, "a step leaves bytes behind")
  assert.deepEqual(queue.allocator.peaks, memory.arenaBytes, "peak of each arena")
  assert.deepEqual(queue.allocator.peakByCategory, memory.byCategory, "peak of each category")
  session[Symbol.dispose]()
  assert.equal(queue.allocator.liveBytes, 0, "a session leaves bytes behind")
  await queue.close()
  return curve
}

const recipes: ReadonlyArray<readonly [string, Parameters<typeof toyRecipe>[0]]> = [
  ["LoRA", {}],
  [
    "LoRA with dropout and checkpoints, untied",
    { adapter: toyLora({ dropout: 0.2 }), checkpointing: true, model: { tied: false } }
  ],
  ["full training", { adapter: fullTraining }],
  [
    "full training from bf16, with checkpoints, untied",
    { adapter: fullTraining, checkpointing: true, model: { tied: false, dtype: "bf16" } }
  ],
  [
    "LoRA beside a trained head and trained norms",
    {
      adapter: { ...toyLora(), trainsBase: (path) => path === "lm_head" || path.includes("norm") },
      model: { tied: false }
    }
  ],
  [
    "LoRA beside a trained embedding that is the head too",
    { adapter: { ...toyLora(), trainsBase: (path) => path === "model.embed_tokens" }, checkpointing: true }
  ],
  ["full training from f16", { adapter: fullTraining, model: { dtype: "f16" } }],
  ["LoRA over f16", { model: { dtype: "f16" } }]
]
export const testSession = (name: string, backend: BackendUnderTest): void => {
  const { limits } = backend
  for (const [title, given] of recipes) {
    for (const compute of ["f32", "bf16"] as ReadonlyArray<ActivationDType>) {
      if (!hasDType(backend, compute) || !hasDType(backend, given?.model?.dtype ?? "f32")) continue
      test(`${name}: 6 steps of ${title} in ${compute}: the reference's curve, in planned memory`, async () => {
        const recipe = toyRecipe({ ...given, compute })
        const reference = { limits, open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes, { limits }) }
        const wanted = await runRecipe(reference, recipe, 6)
        const got = await runRecipe(backend, recipe, 6)
        const tolerance = compute === "f32" ? 1e-4 : 0.03
        assertClose(got.losses, wanted.losses, tolerance, "losses")
        assertClose(got.norms, wanted.norms, compute === "f32" ? 1e-3 : 0.1, "gradient norms")
        assert.ok(got.losses[5]! < got.losses[0]!, `the loss does not fall: ${got.losses}`)
      })
    }
  }
  test(`${name}: one block less than planned is not enough`, async () => {
    const recipe = toyRecipe()
    const { memory } = planOf(limits, recipe, toyMicro)
    const queue = await backend.open(memory.arenaBytes.map((bytes) => bytes - limits.alignment))
    assert.throws(() => loadAtOnce(makeSession(queue, recipe)).step(1, toyMicro, 0.01, () => {}), /out of memory/)
    await queue.close()
  })
  test(`${name}: the same run gives the same bits, with any number of threads`, async () => {
    const recipe = toyRecipe({ adapter: toyLora({ dropout: 0.1 }), checkpointing: true })
    const first = await runRecipe(backend, recipe, 4)
    const others: ReadonlyArray<readonly [string, Open]> = [
      ["again", backend.open],
      ...Object.entries(backend.alike ?? {})
    ]
    for (const [which, open] of others) {
      const other = await runRecipe({ open, limits }, recipe, 4)
      assertSame(other.losses, first.losses, `losses, ${which}`)
      for (const [i, values] of other.parameters.entries())
        assertSame(values, first.parameters[i]!, `parameter ${i}, ${which}`)
    }
  })
  for (const compute of ["f32", "bf16"] as ReadonlyArray<ActivationDType>) {
    if (!hasDType(backend, compute)) continue
    test(`${name}: adapters that share a pass through the base in ${compute} have the bits of those alone, in planned memory`, async () => {
      const adapters = [
        toyLora({ rank: 2, dropout: 0.2 }),
        toyLora({ rank: 5, targets: (path) => !path.includes("v_proj") })
      ]
      const recipe = toyRecipe({ compute, checkpointing: compute === "bf16", neftuneAlpha: 5 })
      const { memory } = planOf(limits, recipe, toyMicro, { adapters })
      const queue = await backend.open(memory.arenaBytes)
      const sessions = loadAtOnce(makeSessions(queue, recipe, adapters))
      const products = stackedProducts(limits, recipe, adapters)
      assert.ok(products.together < products.apart, `${products.together} products, and ${products.apart} one by one`)
      for (let step = 1; step <= 3; step++)
        stepTogether(
          queue,
          sessions,
          step,
          toyMicro,
          () => 0.01,
          () => {}
        )
      for (const [i, adapter] of adapters.entries()) {
        const alone = await runRecipe(backend, { ...recipe, adapter }, 3)
        for (const [j, { path, values }] of sessions[i]!.saved.entries())
          assertSame(await values(), alone.parameters[j]!, `adapter ${i}, ${path}`)
      }
      assert.deepEqual(queue.allocator.peaks, memory.arenaBytes, "peak of each arena")
      sessions[0]![Symbol.dispose]()
      assert.equal(queue.allocator.liveBytes, 0, "the sessions leave bytes behind")
      await queue.close()
    })
    test(`${name}: any number of layers recomputed in ${compute}: the same bits, each one more in no more memory`, async () => {
      const recipeOf = (checkpointing: boolean | number) =>
        toyRecipe({ adapter: toyLora({ dropout: 0.1 }), compute, checkpointing })
      const kept = await runRecipe(backend, recipeOf(false), 3)
      for (const checkpointing of [true, 0, 1, 2, 3]) {
        const other = await runRecipe(backend, recipeOf(checkpointing), 3)
        assertSame(other.losses, kept.losses, `losses, ${checkpointing}`)
        for (const [i, values] of other.parameters.entries())
          assertSame(values, kept.parameters[i]!, `parameter ${i}, ${checkpointing}`)
      }
      const long = [[toyDocument(0, 40)]]
      const [none, one, two, all] = [0, 1, 2, true].map(
        (checkpointing) => planOf(limits, recipeOf(checkpointing), long).memory.byCategory.get("activations")!
      )
      assert.ok(none! > one! && one! > two! && two === all, `${none}, ${one}, ${two}, ${all}`)
    })
  }
  if (backend.record !== undefined) {
    const { record } = backend
    test(`${name}: the flight recorder tells the same of every op of two runs, and where two runs part`, async () => {
      const fly = async (seed: number) => {
        const { queue, flight } = await record(arenasOf(limits, MiB))
        const session = loadAtOnce(makeSession(queue, toyRecipe({ adapter: toyLora({ dropout: 0.1 }), seed })))
        session.step(1, toyMicro, 0.01, () => {})
        await queue.idle()
        const all = await flight()
        session[Symbol.dispose]()
        await queue.close()
        return all
      }
      const [one, two, other] = [await fly(1), await fly(1), await fly(2)]
      assert.ok(one.length > 100, `${one.length} ops`)
      assert.deepEqual(two, one)
      assert.deepEqual(
        other.map(([op]) => op),
        one.map(([op]) => op)
      )
      assert.equal(
        one[other.findIndex(([, hash], i) => hash !== one[i]![1])]?.[0],
        "dropout",
        "the first op that parts"
      )
    })
  }
}

/** Products with frozen weights in one step, by whether adapters share a pass. */
const stackedProducts = (limits: Limits, recipe: Recipe, adapters: ReadonlyArray<AdapterPlan>) => {
  const count = (together: boolean) => {
    const queue = new MetaQueue(limits)
    const sessions = loadAtOnce(makeSessions(queue, recipe, adapters))
    stepTogether(
      queue,
      sessions,
      1,
      toyMicro,
      () => 0,
      () => {},
      together
    )
    return queue.ops.filter((op) => op === "dense.apply").length
  }
  return { together: count(true), apart: count(false) }
}
