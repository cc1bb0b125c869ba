/** Paged is unpaged: the same bits for every budget, the budget held, the files gone; and what a plan says. */
import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test, { after } from "node:test"
import { type MakeOptimizer, type OptimizerState, oneArena, type Queue, ReferenceQueue, sizeOf } from "@graft/core"
import { onReference, optimizerRun, pagedParameters, testPaging } from "@graft/testing"
import { pageBytesFor } from "./frames.ts"
import { adamWRule, lionRule } from "./optimizers.ts"
import { pagedOptimizer, type StateOptions } from "./pagedOptimizer.ts"
import { SpillFolder } from "./SpillFolder.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-paged-"))
const spill = new SpillFolder(folder)
after(() => {
  spill.close()
  assert.deepEqual(readdirSync(folder), [], "spill files are gone")
  rmSync(folder, { recursive: true })
})

const trained = pagedParameters
const parameters = trained.reduce((n, { shape }) => n + sizeOf(shape), 0)

const adamW = adamWRule({
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.01,
  groupFactors: { lora_B: 16 }
})
const adam = (state: StateOptions): MakeOptimizer => pagedOptimizer(adamW, state)
const paging = (residentBytes: number, pageBytes = pageBytesFor(residentBytes)) => ({ residentBytes, pageBytes, spill })

testPaging(
  "reference",
  { limits: oneArena("reference"), open: (bytes) => new ReferenceQueue(bytes) },
  {
    name: "AdamW in 8 bits",
    make: (residentBytes, pageBytes) =>
      adam({
        bits: 8,
        min8BitSize: 4096,
        ...(residentBytes === undefined ? {} : { paging: paging(residentBytes, pageBytes) })
      }),
    smallestPage: 2048
  }
)
const onQueue = <A>(make: MakeOptimizer, body: (optimizer: OptimizerState, queue: Queue) => Promise<A>, of = trained) =>
  onReference((queue, scope) => body(optimizerRun(queue, scope, make, of).optimizer, queue), 2 ** 21)

test("bytes a parameter, as allocated: 8, or 2.03125 and 8 for a small tensor", () =>
  onQueue(adam({ bits: 32, min8BitSize: 4096 }), async (_, { allocator }) => {
    const files = readdirSync(folder).length
    const bytes = allocator.peakByCategory.get("optimizer") ?? 0
    assert.ok(bytes >= 8 * parameters && bytes < 8 * parameters + 64, `${bytes}`)
    await onQueue(adam({ bits: 8, min8BitSize: 4096 }), async (_, { allocator }) => {
      const eight = allocator.peakByCategory.get("optimizer") ?? 0
      const small = 300
      assert.ok(eight < 2.04 * (parameters - small) + 8 * small + 64, `${eight}`)
      assert.ok(eight >= 2.03125 * (parameters - small) + 8 * small)
    })
    assert.equal(readdirSync(folder).length, files, "what fits makes no file")
  }))
test("state of other parameters, of another optimiser or width has other names; what is cut is refused", async () => {
  const namesOf = (make: MakeOptimizer, of = trained) =>
    onQueue(make, async ({ pieces }) => pieces.map(({ name }) => name).join(), of)
  const lion = lionRule({ beta1: 0.9, beta2: 0.99, weightDecay: 0, groupFactors: {} })
  const state = { bits: 8, min8BitSize: 4096 } as const
  const names = [
    await namesOf(adam(state)),
    await namesOf(adam({ ...state, bits: 32 })),
    await namesOf(adam({ ...state, min8BitSize: 0 })),
    await namesOf(pagedOptimizer(lion, state)),
    await namesOf(adam(state), trained.toReversed()),
    await namesOf(
      adam(state),
      trained.map((spec) => ({ ...spec, path: `${spec.path}'` }))
    )
  ]
  assert.equal(new Set(names).size, names.length, `${names}`)
  await onQueue(adam(state), async ({ pieces }) => {
    assert.throws(() => pieces[0]!.write(() => new Uint8Array(pieces[0]!.bytes - 1)), /has \d+ bytes, got \d+/)
  })
})
