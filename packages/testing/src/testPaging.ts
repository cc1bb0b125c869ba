/** State that pages: the bits of all in memory for every budget, the budget held, whatever is read or dropped between. */
import assert from "node:assert/strict"
import test from "node:test"
import { type MakeOptimizer, MetaQueue, type ParameterSpec, type Queue, Scope, sizeOf } from "@graft/core"
import fc from "fast-check"
import { type BackendUnderTest, MiB, onDevice } from "./BackendUnderTest.ts"
import { randomValues } from "./tensorOf.ts"
import { optimizerRun } from "./testOptimizer.ts"

export interface PagingCase {
  readonly name: string
  /** Under a budget of so many bytes in pages of so many, a multiple of 4096 or not; without: all in memory. */
  readonly make: (residentBytes?: number, pageBytes?: number) => MakeOptimizer
  /** The least page that a layout can be cut into. */
  readonly smallestPage: number
}
/** Five tensors in three groups, whose blocks are whole, cut or few. */
export const pagedParameters: ReadonlyArray<ParameterSpec> = (
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

const runOf = (queue: Queue, scope: Scope, make: MakeOptimizer) => {
  const { optimizer, parameters, step } = optimizerRun(queue, scope, make, pagedParameters)
  return {
    optimizer,
    step: (t: number) => step(t, [0.5, 1, t, 1]),
    steps: (from: number, to: number) => {
      for (let t = from; t <= to; t++) step(t, [0.5, 1, t, 1])
    },
    read: async () => {
      const state: Array<Uint8Array> = []
      for (const piece of optimizer.pieces) state.push(await piece.read())
      return { parameters: await Promise.all(parameters.entries.map(([, t]) => queue.readBytes(t))), state }
    },
    restore: async ({ parameters: values, state }: { parameters: Array<Uint8Array>; state: Array<Uint8Array> }) => {
      for (const [i, [, t]] of parameters.entries.entries()) queue.upload(t, () => values[i]!)
      for (const [i, piece] of optimizer.pieces.entries()) await piece.write(() => state[i]!)
    }
  }
}

export const testPaging = (name: string, backend: BackendUnderTest, { name: of, make, smallestPage }: PagingCase) => {
  const on = <A>(made: MakeOptimizer, body: (run: ReturnType<typeof runOf>, queue: Queue) => Promise<A>) =>
    onDevice(backend, (queue, scope) => body(runOf(queue, scope, made), queue), 2 * MiB)
  const fourSteps = (made: MakeOptimizer) =>
    on(made, ({ steps, read }) => {
      steps(1, 4)
      return read()
    })
  const check = (title: string, body: () => Promise<void>): void => {
    test(`${name}: ${of}: ${title}`, body)
  }

  check("any budget and page gives the bits of all in memory", async () => {
    const wanted = await fourSteps(make())
    const total = wanted.state.reduce((n, s) => n + s.length, 0)
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: smallestPage, max: Math.max(smallestPage, total) }),
        fc.integer({ min: 1, max: 40 }),
        async (page, frames) => assert.deepEqual(await fourSteps(make(page * frames, page)), wanted)
      ),
      { numRuns: 5, examples: [1, 2, 3].map((frames) => [smallestPage, frames]) }
    )
    for (const residentBytes of [2 ** 16, 100_000]) assert.deepEqual(await fourSteps(make(residentBytes)), wanted)
  })
  check("the budget holds, on the device as in the plan", async () => {
    for (const residentBytes of [2 ** 16, 80_000, 2 ** 17]) {
      const made = make(residentBytes)
      const meta = new MetaQueue(backend.limits)
      runOf(meta, new Scope(meta, "weights"), made).steps(1, 2)
      await on(made, async ({ steps, read }, queue) => {
        steps(1, 2)
        const { peakByCategory } = queue.allocator
        assert.deepEqual(peakByCategory, meta.plan.byCategory)
        const total = (await read()).state.reduce((n, s) => n + s.length, 0)
        const held = (peakByCategory.get("optimizer") ?? 0) + (peakByCategory.get("pages") ?? 0)
        assert.ok(held <= Math.min(total + 8 * 64, residentBytes + 64), `${held} under ${residentBytes}`)
      })
    }
  })
  check("state goes on under another budget, bit by bit", async () => {
    const wanted = await on(make(), ({ steps, read }) => {
      steps(1, 6)
      return read()
    })
    const budgets = [undefined, 4096, 20_480]
    for (const from of budgets) {
      const saved = await on(make(from, from && 4096), ({ steps, read }) => {
        steps(1, 3)
        return read()
      })
      for (const to of budgets) {
        await on(make(to, to && 4096), async ({ steps, read, restore }) => {
          steps(1, 1) // state that must not be seen again
          await restore(saved)
          assert.deepEqual(await read(), saved)
          steps(4, 6)
          assert.deepEqual(await read(), wanted)
        })
      }
    }
  })
  check("steps that were cancelled, and reading state between steps, change nothing", async () => {
    const made = make(20_480, 4096)
    const wanted = await fourSteps(made)
    await on(made, async ({ steps, step, read, optimizer, restore }, queue) => {
      steps(1, 2)
      await optimizer.pieces.at(-1)!.read()
      const before = await read()
      step(3)
      const dropped = optimizer.pieces[0]!.read()
      queue.cancel()
      // The step had begun or not; it happened whole or not at all.
      await dropped.catch(() => {})
      await restore(before)
      steps(3, 4)
      assert.deepEqual(await read(), wanted)
    })
  })
  check("steps, reads, checkpoints and dropped work in any order do what they do in memory", async () => {
    const actions = fc.array(fc.constantFrom("step", "read", "save", "restore", "drop"), { maxLength: 12 })
    const played = (made: MakeOptimizer, sequence: ReadonlyArray<string>) =>
      on(made, async ({ step, read, restore, optimizer }, queue) => {
        let t = 0
        let saved: { readonly t: number; readonly of: Awaited<ReturnType<typeof read>> } = { t, of: await read() }
        for (const action of sequence) {
          if (action === "step") step(++t)
          else if (action === "read") await optimizer.pieces[0]!.read()
          else if (action === "save") saved = { t, of: await read() }
          else if (action === "drop") {
            // What was dropped may have begun: the checkpoint says where things stand.
            saved = { t, of: await read() }
            step(t + 1)
            queue.cancel()
          }
          if (action === "restore" || action === "drop") {
            await restore(saved.of)
            t = saved.t
          }
        }
        return read()
      })
    await fc.assert(
      fc.asyncProperty(actions, fc.integer({ min: 1, max: 9 }), async (sequence, frames) =>
        assert.deepEqual(await played(make(frames * 4096, 4096), sequence), await played(make(), sequence))
      ),
      { numRuns: 8 }
    )
  })
  check("a step tells what has moved", async () => {
    const page = 4096
    await on(make(5 * page, page), async ({ steps, optimizer }, queue) => {
      const { traffic } = optimizer
      steps(1, 1)
      const first = await traffic!()
      steps(2, 3)
      const next = await traffic!()
      const pages = first.faults + first.hits // each for the first time
      assert.ok(pages > 10)
      // Of five frames two stream, and each page that has none of its own goes through one of these once a step.
      const moved = 2 * (pages - 3)
      assert.equal(next.faults + next.hits, moved)
      // At the end of a step the first pages of the next are on their way.
      for (const bytes of [next.bytesIn, next.bytesOut]) assert.ok(Math.abs(bytes / page - moved) <= 2, `${bytes}`)
      assert.ok(first.bytesIn <= 2 * page, "state begins as zeros")
      assert.ok(next.stallSeconds >= 0)
      await queue.idle()
    })
    await on(make(), async ({ optimizer }) => assert.equal(optimizer.traffic, undefined))
  })
}
