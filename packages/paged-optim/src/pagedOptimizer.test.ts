/** Paged is unpaged: the same bits for every budget, the budget held, the files gone; and what a plan says. */
import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test, { after } from "node:test"
import {
  type MakeOptimizer,
  MetaQueue,
  type OptimizerState,
  oneArena,
  ParameterArena,
  type ParameterSpec,
  type Queue,
  ReferenceQueue,
  Scope,
  sizeOf
} from "@graft/core"
import { randomValues, tensorOf } from "@graft/testing"
import fc from "fast-check"
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

const trained: ReadonlyArray<ParameterSpec> = (
  [
    ["a", [20, 256], "lora_A", true],
    ["b", [73, 61], "lora_B", true],
    ["c", [61, 90], "lora_B", true],
    ["norm", [300], "base", false],
    ["d", [64, 96], "base", true]
  ] as const
).map(([path, shape, group, decays], i) => ({
  path,
  shape,
  group,
  decays,
  init: () => randomValues(sizeOf(shape), 50 + i)
}))
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

const setUp = (queue: Queue, make: MakeOptimizer, specs: ReadonlyArray<ParameterSpec> = trained) => {
  const scope = new Scope(queue, "weights")
  const arena = new ParameterArena(scope, specs, "parameters", "adapters")
  const gradients = new ParameterArena(scope, specs, "gradients", "gradients")
  for (const { path, init } of specs) if (typeof init === "function") queue.upload(arena.get(path), init)
  const optimizer: OptimizerState = make(
    queue,
    scope,
    arena.ranges.map((range, i) => ({ ...range, gradients: gradients.ranges[i]!.flat }))
  )
  const step = (t: number) => {
    using inStep = new Scope(queue, "activations")
    for (const [i, { path, shape }] of specs.entries())
      queue.upload(gradients.get(path), () => randomValues(sizeOf(shape), t * 100 + i))
    queue.atomic(() => optimizer.update(tensorOf(inStep, "control", [4], [0.5, 1, t, 1]), 0.01))
  }
  const steps = (from: number, to: number) => {
    for (let t = from; t <= to; t++) step(t)
  }
  const read = async () => ({
    parameters: await Promise.all(arena.entries.map(([, t]) => queue.readBytes(t))),
    state: await Promise.all(optimizer.pieces.map((piece) => piece.read()))
  })
  const restore = ({ parameters: values, state }: Awaited<ReturnType<typeof read>>) => {
    for (const [i, [, t]] of arena.entries.entries()) queue.upload(t, () => values[i]!)
    for (const [i, piece] of optimizer.pieces.entries()) piece.write(() => state[i]!)
  }
  return { scope, queue, optimizer, step, steps, read, restore }
}
const run = async <A>(
  make: MakeOptimizer,
  body: (one: ReturnType<typeof setUp>) => Promise<A>,
  specs = trained
): Promise<A> => {
  const queue = new ReferenceQueue([8 * 2 ** 20])
  const one = setUp(queue, make, specs)
  const result = await body(one)
  one.scope[Symbol.dispose]()
  assert.equal(queue.allocator.liveBytes, 0)
  await queue.close()
  return result
}
const fourSteps = (make: MakeOptimizer) =>
  run(make, async ({ steps, read }) => {
    steps(1, 4)
    return read()
  })

for (const bits of [8, 32] as const) {
  test(`${bits} bits: any budget and page gives the bits of all in memory`, async () => {
    const wanted = await fourSteps(adam({ bits, min8BitSize: 4096 }))
    const total = wanted.state.reduce((n, s) => n + s.length, 0)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2048, max: total }), fc.integer({ min: 1, max: 40 }), async (page, frames) => {
        const residentBytes = page * frames
        assert.deepEqual(
          await fourSteps(adam({ bits, min8BitSize: 4096, paging: paging(residentBytes, page) })),
          wanted
        )
      }),
      {
        numRuns: 6,
        examples: [
          [2048, 1],
          [2048, 2],
          [2048, 3],
          [4096, 16]
        ]
      }
    )
    for (const residentBytes of [2 ** 16, 100_000])
      assert.deepEqual(await fourSteps(adam({ bits, min8BitSize: 4096, paging: paging(residentBytes) })), wanted)
  })
}
test("the budget holds, in the plan and on the device; without one, bytes a parameter", async () => {
  const bytesOf = (make: MakeOptimizer) => {
    const meta = new MetaQueue(oneArena("meta"))
    const planned = setUp(meta, make)
    planned.steps(1, 2)
    return run(make, async ({ steps, queue }) => {
      steps(1, 2)
      assert.deepEqual(queue.allocator.peakByCategory, meta.plan.byCategory)
      const { peakByCategory } = queue.allocator
      return { optimizer: peakByCategory.get("optimizer") ?? 0, pages: peakByCategory.get("pages") ?? 0 }
    })
  }
  const before = readdirSync(folder).length
  const whole = await bytesOf(adam({ bits: 32, min8BitSize: 4096 }))
  assert.ok(whole.optimizer >= 8 * parameters && whole.optimizer < 8 * parameters + 64, `${whole.optimizer}`)
  const eight = await bytesOf(adam({ bits: 8, min8BitSize: 4096 }))
  const small = 300 // a tensor below the smallest that has 8 bits
  assert.ok(eight.optimizer < 2.04 * (parameters - small) + 8 * small + 64, `${eight.optimizer}`)
  assert.equal(readdirSync(folder).length, before, "what fits makes no file")
  for (const residentBytes of [2 ** 16, 2 ** 17, 150_000]) {
    const { optimizer, pages } = await bytesOf(adam({ bits: 32, min8BitSize: 4096, paging: paging(residentBytes) }))
    assert.equal(optimizer, 64, "the counts of pages")
    assert.ok(pages <= residentBytes && pages > residentBytes - pageBytesFor(residentBytes), `${pages}`)
  }
})
test("state goes on under another budget, bit by bit", async () => {
  const at = (residentBytes: number | undefined) =>
    adam({
      bits: 8,
      min8BitSize: 4096,
      ...(residentBytes === undefined ? {} : { paging: paging(residentBytes, 4096) })
    })
  const wanted = await run(at(undefined), async ({ steps, read }) => {
    steps(1, 6)
    return read()
  })
  const budgets = [undefined, 4096, 20_480, 65_536]
  for (const from of budgets) {
    const saved = await run(at(from), async ({ steps, read }) => {
      steps(1, 3)
      return read()
    })
    for (const to of budgets) {
      await run(at(to), async ({ steps, read, restore }) => {
        steps(1, 1) // state that must not be seen again
        restore(saved)
        assert.deepEqual(await read(), saved)
        steps(4, 6)
        assert.deepEqual(await read(), wanted)
      })
    }
  }
})
test("steps that were cancelled, and reading state between steps, change nothing", async () => {
  const make = adam({ bits: 32, min8BitSize: 4096, paging: paging(20_480, 4096) })
  const wanted = await fourSteps(make)
  await run(make, async ({ steps, step, read, queue, optimizer }) => {
    steps(1, 2)
    await optimizer.pieces.at(-1)!.read()
    step(3)
    const dropped = optimizer.pieces[0]!.read()
    dropped.catch(() => {})
    queue.cancel()
    await assert.rejects(dropped, /cancelled/)
    steps(3, 4)
    assert.deepEqual(await read(), wanted)
  })
})
test("a step tells what has moved", async () => {
  const pages = Math.ceil((8 * parameters) / 16_384) // of whole records
  await run(adam({ bits: 32, min8BitSize: 4096, paging: paging(65_536) }), async ({ steps, optimizer }) => {
    const { traffic } = optimizer
    steps(1, 1)
    const first = await traffic!()
    assert.equal(first.bytesIn, 0, "state begins as zeros")
    assert.equal(first.faults + first.hits, pages)
    steps(2, 3)
    const next = await traffic!()
    // Of four frames two stream, each of which every other page goes through once a step.
    assert.equal(next.bytesIn, 2 * (pages - 2) * 16_384)
    assert.equal(next.bytesOut, next.bytesIn)
    assert.equal(next.faults + next.hits, 2 * (pages - 2))
  })
  await run(adam({ bits: 32, min8BitSize: 4096 }), async ({ optimizer }) => assert.equal(optimizer.traffic, undefined))
})
test("state of other parameters, of another optimiser or width has other names; what is cut is refused", async () => {
  const namesOf = (make: MakeOptimizer, of = trained) =>
    run(make, async ({ optimizer }) => optimizer.pieces.map(({ name }) => name).join(), of)
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
  await run(adam(state), async ({ optimizer: { pieces } }) => {
    assert.throws(() => pieces[0]!.write(() => new Uint8Array(pieces[0]!.bytes - 1)), /has \d+ bytes, got \d+/)
  })
})
