/**
 * Frozen weights that stream from their file: equal bits to resident ones in training, evaluation and generation, under any
 * budget, planned to the byte; and what goes wrong with a budget or a file.
 */
import assert from "node:assert/strict"
import { appendFileSync, cpSync, existsSync, mkdtempSync, rmSync, truncateSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after } from "node:test"
import { CpuQueue, cpuLimits, loadNative, nativePath } from "@graft/backend-cpu"
import { Adapter, Dense, type DeviceFault, loadAtOnce, MetaQueue, ModelLoader, ReferenceQueue } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { LlamaLoader, makeDecoder, openModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { beside, runRecipe, runSteps, testBeside, toyDocument, toyLora, toyMicro, toyRecipe } from "@graft/testing"
import { makeSession, planOf, type Recipe } from "@graft/trainer"
import { WeightStream, WeightStreamError } from "@graft/weight-stream"
import { Context, Effect, Exit, Layer, Scope } from "effect"

const [QUANTIZED, DENSE] = ["golden/tiny-llama-nf4", "golden/tiny-llama"] as const
const [quantized, dense] = [beside(QUANTIZED), beside(DENSE)]
const test = testBeside(QUANTIZED, DENSE)
const folder = mkdtempSync(join(tmpdir(), "graft-stream-"))
const scope = Effect.runSync(Scope.make())
after(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  rmSync(folder, { recursive: true })
})
type Load = ModelLoader["Service"]["load"]
const layersOf = (path: string, memoryBytes: number | undefined) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const loader = LlamaLoader.layerOf(yield* openModel(path))
      const under = memoryBytes === undefined ? loader : WeightStream.layer(loader, { memoryBytes })
      return path === dense
        ? under.pipe(Layer.provide(Dense.layer))
        : under.pipe(Layer.provide(Nf4.layer), Layer.provide(DoubleQuant.layer))
    })
  )
const loadOf = (path: string, memoryBytes?: number): Promise<Load> =>
  Effect.runPromise(
    Effect.map(
      Layer.buildWithScope(layersOf(path, memoryBytes), scope),
      (built) => Context.get(built, ModelLoader).load
    )
  )
const failureOf = (path: string, memoryBytes: number) =>
  Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(layersOf(path, memoryBytes)))))

const native = existsSync(nativePath()) ? loadNative() : undefined
const reference = {
  name: "reference",
  limits: new ReferenceQueue([0]).limits,
  open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes)
}
const engines =
  native === undefined
    ? [reference]
    : [
        {
          name: "cpu",
          limits: cpuLimits(native.info(), 2),
          open: (bytes: ReadonlyArray<number>) =>
            new CpuQueue(native, bytes, cpuLimits(native.info(), 2), { threads: 2, isa: native.info().isa })
        },
        reference
      ]
/** What the smallest budget is, and that of any number of layers, from the error that names it. */
const budgetOf = async (path: string, layers: number): Promise<number> => {
  const least = await failureOf(path, 1)
  assert.ok(least instanceof WeightStreamError)
  const bytes = layerBytes[path === dense ? "dense" : "quantized"]
  return least.smallest! + (layers - 2) * bytes
}
/** One layer in a frame: 7 linears, codes, scales and nested scales each at a multiple of 64. */
const layerBytes = { dense: 4 * 184_320, quantized: 92_160 + 2944 + 7 * 64 }
const recipeOf = (load: Load, given: Partial<Recipe> = {}): Recipe => ({
  ...toyRecipe({ adapter: toyLora({ dropout: 0.1, targets: (path) => path !== "lm_head" }) }),
  load,
  ...given
})

for (const engine of engines) {
  for (const checkpointing of [false, true]) {
    test(`${engine.name}${checkpointing ? ", recomputing" : ""}: accumulated steps have the bits of resident weights`, {
      timeout: 60_000
    }, async () => {
      const wanted = await runRecipe(engine, recipeOf(await loadOf(quantized), { checkpointing }), 2)
      const budgets = engine === reference ? [2] : [2, 3, 9]
      for (const layers of budgets) {
        const load = await loadOf(quantized, await budgetOf(quantized, layers))
        assert.deepEqual(await runRecipe(engine, recipeOf(load, { checkpointing }), 2), wanted, `${layers} layers`)
      }
    })
  }
  test(`${engine.name}: evaluation and generation between steps`, { timeout: 60_000 }, async () => {
    const runs = []
    for (const budget of [undefined, await budgetOf(quantized, 2)]) {
      const load = await loadOf(quantized, budget)
      const recipe = recipeOf(load)
      const queue = engine.open([64 * 2 ** 20])
      const session = loadAtOnce(makeSession(queue, recipe))
      const losses: Array<Promise<Float32Array>> = []
      const evaluate = () => session.evaluate([toyDocument(5)], (loss) => losses.push(queue.read(loss)))
      evaluate()
      evaluate()
      const { parameters } = await runSteps(queue, session, 2)
      evaluate()
      const logits: Array<Float32Array> = []
      {
        using decoder = makeDecoder(queue, session.model, { compute: "f32", overrides: new Map(), capacity: 8 })
        logits.push(await decoder.feed([1, 2, 3]), await decoder.feed([4]), await decoder.feed([5]))
      }
      const traffic = await session.model.traffic?.()
      runs.push({ losses: await Promise.all(losses), parameters, logits })
      assert.equal(traffic !== undefined, budget !== undefined)
      if (traffic !== undefined) {
        const { bytesIn, faults, hits } = traffic
        // Two frames hold two of four layers at each turn: 9 passes by training, 3 evaluations, 3 of generation.
        assert.ok(bytesIn >= 8 * 2 * 90_000, `${bytesIn} bytes`)
        assert.ok(faults + hits >= 8 * 2, `${faults} waited for, ${hits} there`)
      }
      session[Symbol.dispose]()
      assert.equal(queue.allocator.liveBytes, 0)
      await queue.close()
    }
    assert.deepEqual(runs[1], runs[0])
  })
}
test("DoRA begins with the norms of rows, whose layers come for that", { timeout: 60_000 }, async () => {
  const plan = Effect.runSync(
    Effect.scoped(
      Effect.map(
        Layer.build(
          Lora.layer({ rank: 4, dora: true, targets: "all-linear" }).pipe(Layer.provide(layersOf(quantized, undefined)))
        ),
        (built) => Context.get(built, Adapter).plan
      )
    )
  )
  const runs = []
  for (const budget of [undefined, await budgetOf(quantized, 2)])
    runs.push(await runRecipe(engines[0]!, recipeOf(await loadOf(quantized, budget), { adapter: plan }), 2))
  assert.deepEqual(runs[1], runs[0])
})
test("dense weights stream too, and a plan counts what streams apart", { timeout: 60_000 }, async () => {
  const [engine] = engines
  const load = await loadOf(dense, await budgetOf(dense, 2))
  const wanted = await runRecipe(engine!, recipeOf(await loadOf(dense)), 2)
  assert.deepEqual(await runRecipe(engine!, recipeOf(load), 2), wanted)
  const { memory } = planOf(engine!.limits, recipeOf(load), toyMicro)
  assert.equal(memory.byCategory.get("streamed"), 2 * layerBytes.dense + 64)
})
test("a budget of less than two layers is refused, and the smallest one named", async () => {
  const least = await failureOf(quantized, 100_000)
  assert.ok(least instanceof WeightStreamError)
  assert.equal(least.reason, "budget")
  assert.match(
    least.message,
    /take at least 1 MB .*and 2 layers of 1 MB\), and the budget is 1 MB; give at least \d+ bytes/
  )
  const same = await failureOf(quantized, least.smallest! - 1)
  assert.ok(same instanceof WeightStreamError && same.smallest === least.smallest)
  await loadOf(quantized, least.smallest)
})
test("weights that are quantised while they load do not stream", async () => {
  const model = Effect.map(openModel(dense), (opened) =>
    WeightStream.layer(LlamaLoader.layerOf(opened), { memoryBytes: 1e9 })
  )
  const stack = Layer.unwrap(model).pipe(Layer.provide(Nf4.layer), Layer.provide(DoubleQuant.layer))
  const failed = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(stack))))
  assert.ok(failed instanceof WeightStreamError)
  assert.equal(failed.reason, "source")
  assert.match(failed.message, /layers\.0\.self_attn\.q_proj is made nf4 while it loads, .*graft quantize/)
})
for (const engine of engines) {
  test(`${engine.name}: a file that is changed or cut under the run ends it`, { timeout: 30_000 }, async () => {
    const budget = await budgetOf(quantized, 2)
    for (const [how, hurt, message] of [
      [
        "cut",
        (file: string) => truncateSync(file, 300_000),
        /layer \d from .*: it was (?:cut|changed) while the run used it; prepare/
      ],
      [
        "changed",
        (file: string) => appendFileSync(file, "more"),
        /layer \d from .*: it was changed while the run used it; prepare/
      ]
    ] as const) {
      const copy = join(folder, `${engine.name}-${how}`)
      cpSync(quantized, copy, { recursive: true })
      const load = await loadOf(copy, budget)
      const recipe = recipeOf(load)
      const queue = engine.open([64 * 2 ** 20])
      const session = loadAtOnce(makeSession(queue, recipe))
      await runSteps(queue, session, 1)
      hurt(join(copy, "model.safetensors"))
      await assert.rejects(runSteps(queue, session, 1, toyMicro, 2), (fault: DeviceFault) => {
        assert.equal(fault.op, "weight-stream.bring")
        assert.match(fault.message, message)
        return true
      })
      await queue.close()
      // And a new run finds it at its start.
      if (how !== "cut") continue
      const again = engine.open([64 * 2 ** 20])
      assert.throws(
        () => loadAtOnce(makeSession(again, recipe)),
        /model\.safetensors ended at byte \d+ while \d+ more were expected/
      )
      await again.close()
    }
  })
}
test("the program of a run does not say what streams", async () => {
  const limits = new MetaQueue(reference.limits).limits
  const resident = planOf(limits, recipeOf(await loadOf(quantized)), toyMicro)
  const streamed = planOf(limits, recipeOf(await loadOf(quantized, await budgetOf(quantized, 2))), toyMicro)
  assert.deepEqual(streamed.program, resident.program)
})
test("what a recorded run keeps of its steps does not tell how long layers took", { timeout: 60_000 }, async () => {
  const records = []
  for (const delay of [0, 20]) {
    const queue = new ReferenceQueue([64 * 2 ** 20], { record: true })
    const recipe = recipeOf(await loadOf(quantized, await budgetOf(quantized, 2)))
    const session = loadAtOnce(makeSession(queue, recipe))
    await runSteps(queue, session, 1)
    await new Promise((resolve) => setTimeout(resolve, delay))
    assert.ok((await session.model.traffic!()).bytesIn > 0)
    assert.equal((await session.model.traffic!()).bytesIn, 0, "since it was last asked")
    records.push(queue.flight)
    session[Symbol.dispose]()
    await queue.close()
  }
  assert.deepEqual(records[1], records[0])
})
