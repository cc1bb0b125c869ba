/** An adapter on the toy model: parameters in two phases, gradients of all of them, files that hold it. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  type AdapterPlan,
  applyHead,
  collate,
  Graph,
  linearCrossEntropy,
  loadAtOnce,
  noAdapter,
  type Queue,
  type SavedFile,
  type SavedParameter,
  Scope,
  sizeOf,
  sum
} from "@graft/core"
import { makeSession } from "@graft/trainer"
import { type BackendUnderTest, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertClose, assertSame, maxDifference } from "./closeness.ts"
import { randomValues } from "./tensorOf.ts"
import { runRecipe, runSteps, toyMicro } from "./testSession.ts"
import { toyDocument } from "./toyData.ts"
import { describeToy } from "./toyModel.ts"
import { toyRecipe } from "./toyRecipe.ts"

export interface AdapterCase {
  readonly name: string
  readonly plan: AdapterPlan
  /** Before training it changes nothing. */
  readonly startsAsBase: boolean
  /** Its dropout is above 0: then a training loss is not an evaluation's. */
  readonly hasDropout?: boolean
  /** False where backward holds something constant that forward computes, as DoRA its norm (arXiv:2402.09353 §4.3). */
  readonly exactGradients?: boolean
}
const document = [toyDocument(1, 12), toyDocument(2, 9)]

/** Logits of the documents without training. */
const logitsOf = async (queue: Queue, plan: AdapterPlan): Promise<Float32Array> => {
  const session = loadAtOnce(makeSession(queue, toyRecipe({ adapter: plan })))
  const scope = new Scope(queue, "activations")
  const g = new Graph(queue)
  const { model } = session
  const hidden = model.forward(g, collate(scope, document, { seed: 1, step: 1, training: false }))
  const logits = scope.tensor([hidden.rows, model.description.vocabularySize], "logits")
  applyHead(g, logits, hidden, model)
  const read = await queue.read(logits)
  g[Symbol.dispose]()
  scope[Symbol.dispose]()
  session[Symbol.dispose]()
  return read
}
const savedOf = (plan: AdapterPlan): ReadonlyArray<SavedParameter> =>
  plan
    .parameters(describeToy(true))
    .map(({ path, shape }, i) => savedParameter(path, shape, async () => randomValues(sizeOf(shape), i)))
/** Its parts come through one buffer, as a trainer's do: who keeps one has the bytes of another. */
const savedParameter = (
  path: string,
  shape: ReadonlyArray<number>,
  values: SavedParameter["values"]
): SavedParameter => ({
  path,
  shape,
  values,
  parts: async function* () {
    const all = new Uint8Array((await values()).buffer)
    const buffer = new Uint8Array(64)
    for (let at = 0; at < all.length; at += buffer.length) {
      buffer.set(all.subarray(at, at + buffer.length))
      yield buffer.subarray(0, Math.min(buffer.length, all.length - at))
    }
    buffer.fill(0xff)
  }
})
const written = (files: ReadonlyArray<SavedFile>): Promise<ReadonlyArray<{ name: string; bytes: Buffer }>> =>
  Promise.all(
    files.map(async ({ name, bytes }) => {
      const parts: Array<Uint8Array> = []
      for await (const part of bytes instanceof Uint8Array ? [bytes] : bytes()) parts.push(part.slice())
      return { name, bytes: Buffer.concat(parts) }
    })
  )

export const testAdapter = (name: string, backend: BackendUnderTest, one: AdapterCase): void => {
  const { plan, hasDropout = false, exactGradients = true } = one
  const check = (title: string, body: () => Promise<void>): void => {
    test(`${name}: ${one.name}: ${title}`, body)
  }
  check("lists parameters that are its own and whole", async () => {
    const model = describeToy(true)
    assert.equal(plan.check(model, "dense"), undefined)
    const specs = plan.parameters(model)
    assert.ok(specs.length > 0 || plan.trainsBase("model.norm"))
    assert.equal(new Set(specs.map((s) => s.path)).size, specs.length, "paths are distinct")
    for (const { path, shape, init } of specs) {
      if (typeof init === "function") assert.equal(init().length, sizeOf(shape), path)
      else assert.deepEqual(init.shape, shape, path)
    }
    assert.deepEqual(
      plan.parameters(model).map((s) => s.path),
      specs.map((s) => s.path),
      "the same again"
    )
  })
  check(one.startsAsBase ? "starts as the base model" : "changes the base model", () =>
    onDevice(backend, async (queue) => {
      const [base, adapted] = [await logitsOf(queue, noAdapter), await logitsOf(queue, plan)]
      if (one.startsAsBase) assertClose(adapted, base, 1e-5, "logits")
      else assert.ok(maxDifference(adapted, base) > 1e-3)
    })
  )
  if (exactGradients) {
    check("gradients are those of finite differences", () =>
      onDevice(
        backend,
        async (queue) => {
          const session = loadAtOnce(makeSession(queue, toyRecipe({ adapter: plan })))
          const { model, parameters } = session
          // Away from the start, where half of the gradients of a LoRA are 0.
          const start = parameters.entries.map(([, t], i) => ({
            t,
            first: queue.read(t),
            by: randomValues(t.size, i, 0.1)
          }))
          const places: Array<Float32Array> = []
          for (const { t, first, by } of start) {
            const values = (await first).map((v, i) => v + by[i]!)
            places.push(values)
            queue.upload(t, () => values)
          }
          const scope = new Scope(queue, "activations")
          const loss = () => {
            using inBatch = new Scope(queue, "activations")
            using g = new Graph(queue)
            const batch = collate(inBatch, document, { seed: 1, step: 1, training: true })
            return queue.read(sum(g, linearCrossEntropy(g, model.forward(g, batch), model.head, batch.targets), 1))
          }
          const gradients = parameters.entries.map(([path, t]) => scope.tensor(t.shape, `d ${path}`))
          const into = new Map(parameters.entries.map(([, t], i) => [t, gradients[i]!]))
          {
            using inBatch = new Scope(queue, "activations")
            using g = new Graph(queue)
            g.watch(...into.keys())
            const batch = collate(inBatch, document, { seed: 1, step: 1, training: true })
            const y = sum(g, linearCrossEntropy(g, model.forward(g, batch), model.head, batch.targets), 1)
            const dy = inBatch.tensor([1], "dy")
            queue.upload(dy, () => [1])
            const written = new Set<unknown>()
            g.backward(y, dy, (t) => {
              const tensor = into.get(t)
              if (tensor === undefined) return undefined
              const accumulate = written.has(t)
              written.add(t)
              return { tensor, accumulate }
            })
            assert.equal(written.size, into.size, "every parameter has a gradient")
          }
          const STEP = 1e-2 // the loss is a sum of f32 of about 60
          let compared = 0
          for (const [i, [path, t]] of parameters.entries.entries()) {
            const gradient = await queue.read(gradients[i]!)
            const element = gradient.reduce((best, v, j) => (Math.abs(v) > Math.abs(gradient[best]!) ? j : best), 0)
            const at = (by: number) => {
              queue.upload(t, () => places[i]!.map((v, j) => (j === element ? v + by : v)))
              return loss()
            }
            const [above, below] = [at(STEP), at(-STEP)]
            queue.upload(t, () => places[i]!)
            const slope = ((await above)[0]! - (await below)[0]!) / (2 * STEP)
            const wanted = gradient[element]!
            assert.ok(
              Math.abs(slope - wanted) < 0.02 * Math.max(0.5, Math.abs(wanted)),
              `${path}: slope ${slope}, gradient ${wanted}`
            )
            compared++
          }
          assert.ok(compared > 0)
          scope[Symbol.dispose]()
          session[Symbol.dispose]()
        },
        4 * MiB
      )
    )
  }
  check("learns, in planned memory, with the same bits from checkpoints", async () => {
    const plain = await runRecipe(backend, toyRecipe({ adapter: plan }), 20)
    assert.ok(
      plain.losses.at(-1)! < 0.8 * plain.losses[0]!,
      `the loss goes from ${plain.losses[0]} to ${plain.losses.at(-1)}`
    )
    const again = await runRecipe(backend, toyRecipe({ adapter: plan, checkpointing: true }), 20)
    assertSame(again.losses, plain.losses, "losses with checkpoints")
  })
  check("a batch is the sum of its micro-batches", async () => {
    const whole = await runRecipe(backend, toyRecipe({ adapter: plan }), 2, [toyMicro.flat()])
    const split = await runRecipe(
      backend,
      toyRecipe({ adapter: plan }),
      2,
      toyMicro.flat().map((d) => [d])
    )
    assertClose(split.losses, whole.losses, 1e-5, "losses")
    assertClose(split.norms, whole.norms, 1e-4, "gradient norms")
  })
  check("evaluates alike, whatever was trained before it", () =>
    onDevice(backend, async (queue) => {
      const session = loadAtOnce(makeSession(queue, toyRecipe({ adapter: plan })))
      await runSteps(queue, session, 3)
      const losses: Array<Promise<Float32Array>> = []
      const evaluate = () => session.evaluate(document, (loss) => losses.push(queue.read(loss)))
      evaluate()
      evaluate()
      const { losses: training } = await runSteps(queue, session, 1, [document], 4)
      const [one1, one2] = await Promise.all(losses)
      assertSame(one1!, one2!, "two evaluations")
      const tokens = document.reduce((n, d) => n + Array.from(d.targets).filter((t) => t >= 0).length, 0)
      if (!hasDropout) assertClose([one1![0]! / tokens], training, 1e-5, "evaluation and training")
      else assert.notEqual(one1![0]! / tokens, training[0])
      session[Symbol.dispose]()
    })
  )
  check("is held by its files", async () => {
    const model = describeToy(true)
    const saved = savedOf(plan)
    const [files, again] = [await written(plan.files(saved, model)), await written(plan.files(saved, model))]
    assert.ok(files.length > 0)
    assert.deepEqual(again, files)
    for (const { name: file, bytes } of files) {
      assert.doesNotMatch(file, /[/\\]/)
      assert.ok(bytes.byteLength > 0)
    }
    if (saved.length > 0) {
      const other = saved.map((p, i) =>
        i === 0 ? savedParameter(p.path, p.shape, async () => (await p.values()).map((v) => v + 1)) : p
      )
      assert.notDeepEqual(await written(plan.files(other, model)), files, "other values, other files")
    }
  })
}
