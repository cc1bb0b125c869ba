import assert from "node:assert/strict"
import { join } from "node:path"
import test from "node:test"
import { applyMatrix, collate, Graph, outFeatures, Scope } from "@graft/core"
import { assertSame, ToyDataset, toyDocument } from "@graft/testing"
import { Layer } from "effect"
import { Sampling } from "./Sampling.ts"
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
