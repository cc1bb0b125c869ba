/** What a runtime (Bun, Deno, Node) must do for a backend: scopes that close, an event loop that lives, one result. */
import assert from "node:assert/strict"
import test from "node:test"
import { fill, Graph, loadAtOnce, type MicroBatch, Scope, swiglu } from "@graft/core"
import { makeSession } from "@graft/trainer"
import { arenasOf, type BackendUnderTest, MiB } from "./BackendUnderTest.ts"
import { assertClose } from "./closeness.ts"
import { randomTensor } from "./tensorOf.ts"
import { assertTicking } from "./testQueue.ts"
import { runRecipe, runSteps } from "./testSession.ts"
import { toyDocument } from "./toyData.ts"
import { toyRecipe } from "./toyRecipe.ts"

/** Mean losses of five steps of the toy, by the reference on Bun 1.4.5; engines differ in the last bits of exp. */
const LOSSES = [3.819665, 3.456437, 3.198856, 2.981805, 2.777509]

export const testRuntime = (name: string, backend: BackendUnderTest): void => {
  const { limits, open } = backend
  test(`${name}: the toy's curve is the known one`, async () => {
    const { losses } = await runRecipe(backend, toyRecipe(), LOSSES.length)
    assertClose(losses, LOSSES, 1e-5, "losses")
  })
  test(`${name}: a scope closes when its block throws`, async () => {
    const queue = await open(arenasOf(limits, MiB))
    assert.throws(() => {
      using scope = new Scope(queue, "activations")
      using g = new Graph(queue)
      const x = randomTensor(scope, "x", [4], 1)
      g.watch(x)
      swiglu(g, x, x)
      throw new RangeError("on the way")
    }, /on the way/)
    assert.equal(queue.allocator.liveBytes, 0)
    await queue.close()
  })
  test(`${name}: timers tick through a long step`, async () => {
    const queue = await open(arenasOf(limits, 64 * MiB))
    const session = loadAtOnce(makeSession(queue, toyRecipe()))
    const documents = Array.from({ length: 40 }, (_, i) => toyDocument(i, 50))
    await assertTicking(`${name}: a step`, async (times) => {
      await runSteps(queue, session, 1, Array<MicroBatch>(times).fill(documents))
    })
    session[Symbol.dispose]()
    await queue.close()
  })
  test(`${name}: many queues open and close, one beside another`, async () => {
    for (let round = 0; round < 5; round++) {
      const queues = await Promise.all([1, 2, 3].map(() => open(arenasOf(limits, MiB))))
      const values = await Promise.all(
        queues.map(async (queue, i) => {
          const scope = new Scope(queue, "activations")
          const t = scope.tensor([3], "t")
          queue.enqueue(fill, [t], { value: i + round })
          const read = await queue.read(t)
          scope[Symbol.dispose]()
          return read[2]
        })
      )
      assert.deepEqual(values, [round, 1 + round, 2 + round])
      await Promise.all(queues.map((queue) => queue.close()))
    }
  })
}
