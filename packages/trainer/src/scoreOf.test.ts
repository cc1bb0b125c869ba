/** Rows with a target through the head against all rows: equal bits, any share of targets, in chunks and in equal memory. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  applyMatrix,
  type Command,
  crossEntropyRows,
  Graph,
  type Limits,
  MetaQueue,
  oneArena,
  type Queue,
  ReferenceQueue,
  Scope,
  topIsTarget,
  uniforms
} from "@graft/core"
import { assertClose, assertSame } from "@graft/testing"
import { scoreOf } from "./scoreOf.ts"

interface Sizes {
  readonly tokens: number
  readonly hidden: number
  readonly vocab: number
}
const small: Sizes = { tokens: 24, hidden: 6, vocab: 19 }
const targetsOf = ({ tokens, vocab }: Sizes, isLearnt: (t: number) => boolean) =>
  Array.from({ length: tokens }, (_, t) => (isLearnt(t) ? (7 * t) % vocab : -100))
const shares: Readonly<Record<string, (t: number) => boolean>> = {
  all: () => true,
  third: (t) => t % 3 === 1,
  answer: (t) => t >= 15,
  one: (t) => t === 11,
  none: () => false
}
const open = (queue: Queue, { tokens, hidden, vocab }: Sizes, targets: ReadonlyArray<number>) => {
  const scope = new Scope(queue, "weights")
  const x = scope.tensor([tokens, hidden], "x")
  const head = scope.tensor([vocab, hidden], "head")
  const ids = scope.tensor([tokens], "targets", "i32")
  queue.upload(x, () => uniforms(x.size, 1, 1).map((u) => 4 * u - 2))
  queue.upload(head, () => uniforms(head.size, 2, 1).map((u) => 4 * u - 2))
  queue.upload(ids, () => targets)
  return { scope, x, head, ids, supervised: targets.filter((target) => target >= 0).length }
}
const scored = async (sizes: Sizes, targets: ReadonlyArray<number>, softCap = 0, limits?: Limits) => {
  const queue = new ReferenceQueue([2 ** 28], limits === undefined ? {} : { limits })
  const { scope, x, head, ids, supervised } = open(queue, sizes, targets)
  const g = new Graph(queue)
  const { losses, hits } = scoreOf(g, x, head, ids, { softCap, supervised })
  const read = await Promise.all([queue.read(losses), queue.read(hits)])
  g[Symbol.dispose]()
  scope[Symbol.dispose]()
  assert.equal(queue.allocator.liveBytes, 0)
  return read
}
/** Every row through the head. */
const scoredWhole = async (sizes: Sizes, targets: ReadonlyArray<number>, softCap = 0) => {
  const queue = new ReferenceQueue([2 ** 28])
  const { scope, x, head, ids } = open(queue, sizes, targets)
  const [losses, hits] = [scope.tensor([sizes.tokens], "losses"), scope.tensor([sizes.tokens], "hits")]
  const logits = scope.tensor([sizes.tokens, sizes.vocab], "logits")
  const g = new Graph(queue)
  queue.upload(hits, () => new Float32Array(sizes.tokens))
  applyMatrix(g, logits, x, head)
  const rows = { row0: 0, rows: sizes.tokens, vocab: sizes.vocab }
  g.run(topIsTarget, [hits, logits, ids], rows)
  g.run(crossEntropyRows, [losses, logits, ids], { ...rows, gradient: false, softCap, smoothing: 0 })
  return Promise.all([queue.read(losses), queue.read(hits)])
}

for (const [name, isLearnt] of Object.entries(shares)) {
  test(`losses and hits are those of all rows, bit for bit: targets ${name}`, async () => {
    const targets = targetsOf(small, isLearnt)
    for (const softCap of [0, 3]) {
      const wanted = await scoredWhole(small, targets, softCap)
      for (const limits of [undefined, { ...oneArena("reference"), views: false }]) {
        const got = await scored(small, targets, softCap, limits)
        assertSame(got[0], wanted[0], `losses, soft cap ${softCap}`)
        assertSame(got[1], wanted[1], `hits, soft cap ${softCap}`)
      }
    }
  })
}
test("a hit is the row whose target has the largest logit", async () => {
  const [losses, hits] = await scored(
    small,
    targetsOf(small, () => true)
  )
  const missed = hits.filter((hit) => hit === 0).length
  assert.ok(missed > 0 && hits.every((hit) => hit === 0 || hit === 1))
  assert.ok(losses.every((loss, t) => (hits[t] === 1 ? loss < Math.log(small.vocab) : loss > 0)))
})
test("rows of several chunks are what the formula says", { timeout: 120_000 }, async () => {
  const wide: Sizes = { tokens: 6, hidden: 1, vocab: 2 ** 22 }
  const targets = targetsOf(wide, (t) => t !== 2)
  const [losses] = await scored(wide, targets)
  const x = uniforms(6, 1, 1).map((u) => 4 * u - 2)
  const head = uniforms(wide.vocab, 2, 1).map((u) => 4 * u - 2)
  const wanted = targets.map((target, t) => {
    if (target < 0) return 0
    let sum = 0
    for (const w of head) sum += Math.exp(x[t]! * w)
    return Math.log(sum) - x[t]! * head[target]!
  })
  assertClose(losses, wanted, 1e-5, "losses")
})

class Heads extends MetaQueue {
  readonly rows: Array<number> = []
  protected override submit(command: Command): void {
    super.submit(command)
    const { kernel, params } = command
    if (kernel.name === "gemm") this.rows.push((params as { m: number }).m) // a gemm's own parameters
  }
}
test("the head multiplies the learnt rows, in memory that does not depend on them", () => {
  const large: Sizes = { tokens: 1024, hidden: 8, vocab: 49_152 }
  const plan = (isLearnt: (t: number) => boolean) => {
    const queue = new Heads(oneArena("meta"))
    const { scope, x, head, ids, supervised } = open(queue, large, targetsOf(large, isLearnt))
    using g = new Graph(queue)
    scoreOf(g, x, head, ids, { supervised })
    scope[Symbol.dispose]()
    return { rows: queue.rows, peak: queue.plan.peakBytes }
  }
  const [all, answer, none] = [plan(() => true), plan((t) => t >= 724), plan(() => false)]
  assert.equal(
    all.rows.reduce((a, b) => a + b),
    1024
  )
  assert.deepEqual(answer.rows, [150, 150])
  assert.deepEqual(none.rows, [1])
  assert.deepEqual([answer.peak, none.peak], [all.peak, all.peak])
})
