import assert from "node:assert/strict"
import { mkdtempSync, rmSync, statSync, truncateSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { type Codec, denseCodec, loadAtOnce, MetaQueue, oneArena, ReferenceQueue, Scope } from "@graft/core"
import { makeSession } from "@graft/trainer"
import { MiB } from "../BackendUnderTest.ts"
import { assertSame } from "../closeness.ts"
import { runRecipe, runSteps, toyMicro } from "../testSession.ts"
import { toyLora } from "../toyAdapters.ts"
import { toyRecipe } from "../toyRecipe.ts"
import { int8Codec, u8Scales } from "./int8Weight.ts"
import { planStreaming, streamLayers } from "./streamedLayers.ts"

const backend = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }
const inFolder = async (body: (file: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "graft-stream-"))
  try {
    await body(join(folder, "layers.bin"))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
const codecs: ReadonlyArray<readonly [string, Codec]> = [
  ["dense", denseCodec()],
  ["int8", int8Codec(u8Scales)]
]
for (const [name, codec] of codecs) {
  for (const checkpointing of [false, true]) {
    test(`${name} layers from disk${checkpointing ? ", with checkpoints" : ""}: equal bits, one layer at a time`, () =>
      inFolder(async (file) => {
        const recipe = toyRecipe({ codec, checkpointing, adapter: toyLora({ dropout: 0.1 }) })
        const kept = await runRecipe(backend, recipe, 5)
        const queue = new ReferenceQueue([4 * MiB])
        const session = loadAtOnce(makeSession(queue, recipe))
        const all = queue.allocator.live.get("weights")!
        const streamed = await streamLayers(queue, session.model, file)
        const none = queue.allocator.live.get("weights")!
        assert.equal(statSync(file).size <= streamed.bytes, true)
        let [most, entered] = [0, 0]
        session.residency = {
          enter: (layer) => {
            streamed.enter(layer)
            entered++
            most = Math.max(most, queue.allocator.live.get("weights")!)
            assert.deepEqual([...streamed.resident], [layer])
          },
          leave: streamed.leave
        }
        const { storage } = session.model.linears.under("model.layers.0")[0]!.weight as {
          readonly storage: ReadonlyArray<{ readonly state: string }>
        } // frozen
        assert.deepEqual(
          storage.map((t) => t.state),
          storage.map(() => "evicted")
        )
        const got = await runSteps(queue, session, 5)
        assertSame(got.losses, kept.losses, "losses")
        for (const [i, values] of got.parameters.entries()) assertSame(values, kept.parameters[i]!, `parameter ${i}`)
        assert.equal(queue.allocator.live.get("weights"), none)
        assert.equal(most - none, (all - none) / 2, "one of two layers")
        assert.equal(entered, 5 * toyMicro.length * 2 * 2, "each layer once a pass")
        session[Symbol.dispose]()
        assert.equal(queue.allocator.liveBytes, 0)
        streamed.close()
        await queue.close()
      }))
  }
}
test("a weight used outside of its layer says so", () =>
  inFolder(async (file) => {
    const queue = new ReferenceQueue([4 * MiB])
    const session = loadAtOnce(makeSession(queue, toyRecipe()))
    const streamed = await streamLayers(queue, session.model, file)
    using scope = new Scope(queue, "activations")
    const { weight } = session.model.linears.under("model.layers.1")[0]!
    assert.ok("rowNormsSquared" in weight)
    assert.throws(
      () => weight.rowNormsSquared(scope.tensor([weight.outFeatures], "n")),
      /not resident: use it between enter and leave/
    )
    assert.throws(() => session.step(1, toyMicro, 0.01, () => {}), /is not resident/)
    session.residency = streamed
    truncateSync(file, 5000)
    assert.throws(
      () => session.step(1, toyMicro, 0.01, () => {}),
      /layers\.bin ends at byte \d+, model\.layers\..* needs \d+ bytes from \d+; prepare it again/
    )
    streamed.close()
    await queue.close()
  }))
test("a streamed run is planned to the byte", () =>
  inFolder(async (file) => {
    const recipe = toyRecipe({ checkpointing: true })
    const meta = new MetaQueue(oneArena("meta"))
    const planned = loadAtOnce(makeSession(meta, recipe))
    planned.residency = planStreaming(meta, planned.model)
    planned.step(1, toyMicro, 0, () => {})
    const queue = new ReferenceQueue(meta.plan.arenaBytes)
    const session = loadAtOnce(makeSession(queue, recipe))
    const streamed = await streamLayers(queue, session.model, file)
    session.residency = streamed
    await runSteps(queue, session, 3)
    assert.deepEqual(queue.allocator.peaks, meta.plan.arenaBytes)
    assert.deepEqual(queue.allocator.peakByCategory, meta.plan.byCategory)
    streamed.close()
    await queue.close()
  }))
