import assert from "node:assert/strict"
import test from "node:test"
import {
  addInto,
  Graph,
  loadAtOnce,
  type MakeOptimizer,
  type MicroBatch,
  type Queue,
  ReferenceQueue,
  Scope,
  supervisedIn,
  uniformNoise
} from "@graft/core"
import {
  assertClose,
  assertSame,
  fullTraining,
  MiB,
  runRecipe,
  runSteps,
  toyDocument,
  toyLora,
  toyMicro,
  toyRecipe
} from "@graft/testing"
import { makeSession, type Recipe } from "./Session.ts"

const backend = {
  limits: new ReferenceQueue([0]).limits,
  open: (bytes: ReadonlyArray<number>): Queue => new ReferenceQueue(bytes)
}
/** Puts the summed gradients where the parameters were, so that a test can read them. */
const exposing: MakeOptimizer = (queue, _, ranges) => ({
  pieces: [],
  update: () => {
    using g = new Graph(queue)
    for (const { flat, gradients } of ranges) addInto(g, flat, gradients)
  }
})
const gradientsAndLoss = async (recipe: Recipe, micro: ReadonlyArray<MicroBatch>) => {
  const { losses, parameters } = await runRecipe(backend, { ...recipe, optimizer: exposing }, 1, micro)
  return { loss: losses[0]!, gradients: parameters }
}
const documents = [toyDocument(0), toyDocument(1, 7), toyDocument(2, 12, 4), toyDocument(3, 5)]

for (const [title, given] of [
  ["LoRA with dropout", { adapter: toyLora({ dropout: 0.2 }) }],
  ["full training", { adapter: fullTraining }],
  ["LoRA with label smoothing", { labelSmoothing: 0.1 }],
  ["full training, untied", { adapter: fullTraining, model: { tied: false } }],
  ["LoRA with NEFTune", { neftuneAlpha: 5 }],
  ["full training with NEFTune", { adapter: fullTraining, neftuneAlpha: 5 }]
] as const) {
  test(`${title}: any split into micro-batches, any packing and recomputation give one loss and gradient`, async () => {
    const whole = await gradientsAndLoss(toyRecipe(given), [documents])
    const splits: ReadonlyArray<ReadonlyArray<MicroBatch>> = [
      documents.map((d) => [d]),
      [documents.toReversed()],
      [documents.slice(0, 1), documents.slice(1)],
      [documents.slice(2), documents.slice(0, 2)]
    ]
    for (const [i, micro] of splits.entries()) {
      for (const checkpointing of [false, true]) {
        const { loss, gradients } = await gradientsAndLoss(toyRecipe({ ...given, checkpointing }), micro)
        assert.ok(Math.abs(loss - whole.loss) < 1e-6 * whole.loss, `split ${i}: loss ${loss}, wanted ${whole.loss}`)
        for (const [j, d] of gradients.entries()) assertClose(d, whole.gradients[j]!, 1e-5, `split ${i}, gradient ${j}`)
      }
    }
  })
}
test("NEFTune's noise is uniform in ±alpha / √(L · d) of its own document, of each step another, and of training alone", async () => {
  const ofLosses = async (neftuneAlpha: number, step = 1) => {
    const queue = new ReferenceQueue([4 * MiB])
    const session = loadAtOnce(makeSession(queue, toyRecipe({ neftuneAlpha })))
    const evaluated: Array<Promise<Float32Array>> = []
    session.evaluate(documents, (loss) => evaluated.push(queue.read(loss)))
    const { losses } = await runSteps(queue, session, 1, [documents], step)
    const [held] = await Promise.all(evaluated)
    session[Symbol.dispose]()
    await queue.close()
    return { trained: losses[0]!, held: held![0]! }
  }
  const [off, on, again, next] = [await ofLosses(0), await ofLosses(5), await ofLosses(5), await ofLosses(5, 2)]
  assert.equal(on.held, off.held, "an evaluation has no noise")
  assert.equal(again.trained, on.trained)
  assert.ok(new Set([off.trained, on.trained, next.trained]).size === 3)

  const [lengths, width, alpha] = [[100, 25], 64, 5]
  const queue = new ReferenceQueue([4 * MiB])
  const scope = new Scope(queue, "activations")
  const rows = lengths.flatMap((n, sample) => Array.from({ length: n }, (_, position) => [sample, position]))
  const tensor = (shape: ReadonlyArray<number>, values: ReadonlyArray<number>, dtype: "f32" | "i32") => {
    const t = scope.tensor(shape, "t", dtype)
    queue.upload(t, () => values)
    return t
  }
  const zeros = tensor([rows.length, width], Array<number>(rows.length * width).fill(0), "f32")
  const keys = tensor([rows.length, 2], rows.flat(), "i32")
  const sizes = lengths.flatMap((n) => Array<number>(n).fill(alpha / Math.sqrt(n * width)))
  const out = scope.tensor([rows.length, width], "noise")
  queue.enqueue(uniformNoise, [out, zeros, keys, tensor([rows.length], sizes, "f32")], { seed: 1, step: 1, site: 9 })
  const noise = await queue.read(out)
  let first = 0
  for (const n of lengths) {
    const own = [...noise.subarray(first * width, (first + n) * width)]
    first += n
    const bound = alpha / Math.sqrt(n * width)
    const mean = own.reduce((a, b) => a + b, 0) / own.length
    const variance = own.reduce((a, b) => a + b * b, 0) / own.length
    assert.ok(own.every((v) => Math.abs(v) <= bound) && Math.max(...own) > 0.98 * bound)
    assert.ok(Math.abs(mean) < 0.05 * bound && Math.abs(variance / (bound ** 2 / 3) - 1) < 0.05, `${mean} ${variance}`)
  }
  scope[Symbol.dispose]()
  await queue.close()
})
test("a loss is the mean over supervised tokens of the whole accumulated batch", async () => {
  const each = await Promise.all(documents.map((d) => gradientsAndLoss(toyRecipe(), [[d]])))
  const { loss } = await gradientsAndLoss(toyRecipe(), [documents.slice(0, 3), documents.slice(3)])
  const tokens = documents.map((d) => supervisedIn([d]))
  const mean = each.reduce((sum, { loss: one }, i) => sum + one * tokens[i]!, 0) / tokens.reduce((a, b) => a + b)
  assert.ok(Math.abs(loss - mean) < 1e-6 * mean, `${loss} ${mean}`)
})
test("full training learns a toy by heart, every tensor of it", async () => {
  const queue = new ReferenceQueue([4 * MiB])
  const session = loadAtOnce(makeSession(queue, toyRecipe({ adapter: fullTraining, model: { tied: false } })))
  const read = () => Promise.all(session.saved.map(async ({ path, values }) => ({ path, values: await values() })))
  const before = await read()
  assert.deepEqual(
    before.map(({ path }) => path).filter((path) => !path.includes("layers")),
    ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"].sort(
      (a, b) => before.findIndex(({ path }) => path === a) - before.findIndex(({ path }) => path === b)
    )
  )
  assert.equal(before.length, 3 + 2 * 9)
  const { losses } = await runSteps(queue, session, 60)
  assert.ok(losses.at(-1)! < 0.1 * losses[0]!, `the loss goes from ${losses[0]} to ${losses.at(-1)}`)
  for (const [i, { path, values }] of (await read()).entries())
    assert.notDeepEqual(values, before[i]!.values, `${path} was trained`)
  session[Symbol.dispose]()
  await queue.close()
})
test("bf16 follows f32", async () => {
  const [f32, bf16] = await Promise.all(
    (["f32", "bf16"] as const).map((compute) => runRecipe(backend, toyRecipe({ compute, adapter: fullTraining }), 10))
  )
  assertClose(bf16!.losses, f32!.losses, 0.02, "losses")
  assert.notDeepEqual(bf16!.losses, f32!.losses)
})
test("a step whose gradient is not finite changes nothing and does not count", async () => {
  const queue = new ReferenceQueue([4 * MiB])
  const session = loadAtOnce(makeSession(queue, toyRecipe()))
  await runSteps(queue, session, 2)
  const poisoned = session.parameters.entries[0]![1]
  const values = await queue.read(poisoned)
  const state = async () =>
    Promise.all(session.pieces.map(async ({ name, read }) => [name, [...(await read())]] as const))
  queue.upload(poisoned, () => values.map((v, i) => (i === 3 ? Infinity : v)))
  const before = await state()
  await runSteps(queue, session, 1, toyMicro, 3)
  const control = await session.control()
  assert.deepEqual([control[0], control[1], control[2]], [0, 0, 2], "factor, finite, steps applied")
  assert.ok(!Number.isFinite(control[3]))
  const notControl = (of: typeof before) => of.filter(([name]) => name !== "control")
  assert.deepEqual(notControl(await state()), notControl(before))
  queue.upload(poisoned, () => values)
  const { losses } = await runSteps(queue, session, 1, toyMicro, 4)
  assert.ok(Number.isFinite(losses[0]))
  assert.equal((await session.control())[2], 3)
  session[Symbol.dispose]()
  await queue.close()
})
test("the gradient is clipped by its global norm, which is reported unclipped", async () => {
  const run = async (maxGradNorm: number) => {
    const queue = new ReferenceQueue([4 * MiB])
    const session = loadAtOnce(makeSession(queue, toyRecipe({ maxGradNorm })))
    const { norms } = await runSteps(queue, session, 1)
    const control = await session.control()
    session[Symbol.dispose]()
    await queue.close()
    return { norm: norms[0]!, factor: control[0]! }
  }
  const { gradients } = await gradientsAndLoss(toyRecipe(), toyMicro)
  const tokens = toyMicro.reduce((n, micro) => n + supervisedIn(micro), 0)
  const norm = Math.sqrt(gradients.reduce((sum, d) => sum + d.reduce((s, v) => s + v * v, 0), 0)) / tokens
  const [off, wide, tight] = [await run(0), await run(2 * norm), await run(norm / 4)]
  for (const found of [off, wide, tight]) assert.ok(Math.abs(found.norm - norm) < 1e-5 * norm, `${found.norm} ${norm}`)
  assertClose([off.factor, wide.factor, tight.factor], [1 / tokens, 1 / tokens, 0.25 / tokens], 1e-4, "factors")
})
test("gradients, tokens and loss pass the collective between backward and clipping", async () => {
  const seen: Array<ReadonlyArray<number>> = []
  const doubled = toyRecipe({
    allReduce: (queue, tensors) => {
      seen.push(tensors.map((t) => t.size))
      using g = new Graph(queue)
      for (const t of tensors) addInto(g, t, t, { accumulate: true }) // as two equal processes would
    }
  })
  const [alone, together] = [await runRecipe(backend, toyRecipe(), 3), await runRecipe(backend, doubled, 3)]
  assert.equal(seen.length, 2 * 1 + 3, "once a step, also in the plan of each shape")
  assertClose(together.losses, alone.losses, 1e-6, "mean losses")
  assertClose(together.norms, alone.norms, 1e-5, "norms of the mean gradient")
})
test("an evaluation is the summed loss of its documents, without dropout", async () => {
  const queue = new ReferenceQueue([4 * MiB])
  const session = loadAtOnce(makeSession(queue, toyRecipe({ adapter: toyLora({ dropout: 0.5 }) })))
  const losses: Array<Promise<Float32Array>> = []
  for (const documentsOfOne of [[documents[0]!], [documents[1]!], [documents[0]!, documents[1]!]])
    session.evaluate(documentsOfOne, (loss) => losses.push(queue.read(loss)))
  const [one, two, both] = (await Promise.all(losses)).map(([v]) => v!)
  assert.ok(Math.abs(one! + two! - both!) < 1e-5 * both!, `${one} ${two} ${both}`)
  session[Symbol.dispose]()
  assert.equal(queue.allocator.liveBytes, 0)
  await queue.close()
})
test("pieces are all of a session: another one goes on bit by bit", async () => {
  const recipe = toyRecipe({ adapter: toyLora({ dropout: 0.1 }) })
  const queue = new ReferenceQueue([4 * MiB])
  const [first, second] = [loadAtOnce(makeSession(queue, recipe)), loadAtOnce(makeSession(queue, recipe))]
  await runSteps(queue, first, 3)
  assert.equal(new Set(first.pieces.map(({ name }) => name)).size, first.pieces.length)
  for (const [i, piece] of first.pieces.entries()) {
    const bytes = await piece.read()
    assert.equal(bytes.byteLength, piece.bytes)
    await second.pieces[i]!.write(() => bytes)
  }
  const [a, b] = [await runSteps(queue, first, 3, toyMicro, 4), await runSteps(queue, second, 3, toyMicro, 4)]
  assertSame(b.losses, a.losses, "losses")
  for (const [i, values] of b.parameters.entries()) assertSame(values, a.parameters[i]!, `parameter ${i}`)
  for (const session of [first, second]) session[Symbol.dispose]()
  await queue.close()
})
test("a residency is entered and left around each layer, forwards and backwards, once a pass", async () => {
  for (const checkpointing of [false, true]) {
    const queue = new ReferenceQueue([4 * MiB])
    const session = loadAtOnce(makeSession(queue, toyRecipe({ checkpointing })))
    const log: Array<string> = []
    session.residency = {
      enter: (layer) => log.push(`+${layer.at(-1)}`),
      leave: (layer) => log.push(`-${layer.at(-1)}`)
    }
    session.step(1, [[documents[0]!]], 0.01, () => {})
    assert.deepEqual(log, ["+0", "-0", "+1", "-1", "+1", "-1", "+0", "-0"])
    log.length = 0
    session.evaluate([documents[0]!], () => {})
    assert.deepEqual(log, ["+0", "-0", "+1", "-1"])
    session[Symbol.dispose]()
    await queue.close()
  }
})
