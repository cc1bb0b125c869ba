import assert from "node:assert/strict"
import test from "node:test"
import { type Category, type Limits, loadAtOnce, type MicroBatch, oneArena, ReferenceQueue } from "@graft/core"
import { fullTraining, toyDocument, toyLora, toyRecipe } from "@graft/testing"
import { blankDocument, planOf } from "./plan.ts"
import { makeSession } from "./Session.ts"

const limits = oneArena("reference")
const peak = (...lengths: ReadonlyArray<number>): number =>
  planOf(limits, toyRecipe(), [lengths.map((n) => toyDocument(0, n))]).memory.peakBytes

/** Runs the micro-batches, in steps of two and an evaluation, in exactly the planned memory. */
const runIn = async (
  arenaBytes: ReadonlyArray<number>,
  on: Limits,
  given: Parameters<typeof toyRecipe>[0],
  micro: ReadonlyArray<MicroBatch>
) => {
  const queue = new ReferenceQueue(arenaBytes, { limits: on })
  try {
    const session = loadAtOnce(makeSession(queue, toyRecipe(given)))
    for (let i = 0; i < micro.length; i++)
      session.step(i + 1, [micro[i]!, micro[(i + 1) % micro.length]!], 0.01, () => {})
    for (const documents of micro) session.evaluate(documents, () => {})
    session[Symbol.dispose]()
    return queue.allocator.peaks
  } finally {
    await queue.close()
  }
}
const shapes: ReadonlyArray<MicroBatch> = [
  [toyDocument(0, 20)],
  [toyDocument(1, 7), toyDocument(2, 30), toyDocument(3, 2)],
  [toyDocument(4, 41)],
  [toyDocument(5, 3), toyDocument(6, 3)],
  [toyDocument(7, 1)]
]
const arenaOf = (category: Category) => (category === "weights" ? 0 : category === "activations" ? 1 : 2)
const devices: ReadonlyArray<Limits> = [
  limits,
  { ...limits, device: "three arenas", arenas: 3, arenaOf },
  { ...oneArena("without views", 256), views: false }
]
for (const device of devices) {
  for (const [title, given] of [
    ["LoRA", {}],
    ["LoRA with checkpoints", { checkpointing: true, adapter: toyLora({ dropout: 0.1 }) }],
    ["full training in bf16", { adapter: fullTraining, compute: "bf16" as const }]
  ] as const) {
    test(`${device.device}, ${title}: any order of the planned shapes takes the planned bytes, one block less fails`, async () => {
      const { memory } = planOf(device, toyRecipe(given), shapes, { evaluation: shapes })
      assert.deepEqual(await runIn(memory.arenaBytes, device, given, shapes), memory.arenaBytes)
      assert.deepEqual(await runIn(memory.arenaBytes, device, given, shapes.toReversed()), memory.arenaBytes)
      for (const arena of memory.arenaBytes.keys()) {
        const less = memory.arenaBytes.map((bytes, i) => (i === arena ? bytes - device.alignment : bytes))
        await assert.rejects(runIn(less, device, given, shapes), /out of memory/)
      }
    })
  }
}
test("only lengths are needed, and each shape is planned once", () => {
  const blank = shapes.map((documents) => documents.map((d) => blankDocument(d.ids.length)))
  const [real, planned] = [planOf(limits, toyRecipe(), shapes), planOf(limits, toyRecipe(), [...blank, ...blank])]
  assert.deepEqual(planned.memory, real.memory)
  assert.ok(real.ops.includes("attentionBackward") && real.ops.includes("adamW"))
  assert.equal(
    real.trainableParameters,
    loadAtOnce(makeSession(new ReferenceQueue([2 ** 22]), toyRecipe())).parameters.entries.reduce(
      (n, [, t]) => n + t.size,
      0
    )
  )
})
test("what is planned says where it goes", () => {
  const { memory } = planOf({ ...limits, fixedBytes: 12_345 }, toyRecipe(), shapes)
  assert.equal(memory.peakBytes, 12_345 + memory.arenaBytes.reduce((a, b) => a + b))
  const live = [...memory.atPeak.values()].reduce((a, b) => a + b)
  assert.ok(live <= memory.arenaBytes[0]! && live > 0.8 * memory.arenaBytes[0]!, "what is live, without fragmentation")
  for (const category of ["weights", "adapters", "gradients", "optimizer", "activations"] as const)
    assert.ok((memory.byCategory.get(category) ?? 0) > 0, category)
  const [adapters, optimizer] = [memory.byCategory.get("adapters")!, memory.byCategory.get("optimizer")!]
  assert.ok(optimizer >= 2 * adapters && optimizer < 2 * adapters + 1024, "two moments of each parameter")
})
test("checkpoints take less", () => {
  const long = [[toyDocument(0, 60)]]
  const [kept, again] = [false, true].map((checkpointing) => planOf(limits, toyRecipe({ checkpointing }), long).memory)
  assert.ok(again!.byCategory.get("activations")! < 0.75 * kept!.byCategory.get("activations")!)
})
test("the largest batch does not bound the others, which is why every shape is planned", () => {
  const peaks = Array.from({ length: 254 }, (_, i) => peak(i + 2))
  assert.ok(peaks.every((p) => p > 0) && peaks.at(-1)! > peaks[0]!)
  const falls = peaks.filter((p, i) => i > 0 && p < peaks[i - 1]!).length
  assert.ok(falls > 0, "best fit has holes that a longer document happens to fill better")
})
