/** The head on supervised rows alone against the composed op: equal bits, any share of targets, frozen and trained heads. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  addInto,
  denseCodec,
  Graph,
  type LossOptions,
  linearCrossEntropy,
  MetaQueue,
  type Override,
  oneArena,
  type Queue,
  ReferenceQueue,
  Scope,
  sourceOf,
  type Tensor,
  uniforms
} from "@graft/core"
import { fusedLinearCrossEntropy } from "./fusedLinearCrossEntropy.ts"

const TOKENS = 40
const WIDTH = 6
const VOCABULARY = 23
const overrides: ReadonlyMap<string, Override> = new Map([[fusedLinearCrossEntropy.op, fusedLinearCrossEntropy]])
const targetsBy = (isLearnt: (t: number) => boolean): ReadonlyArray<number> =>
  Array.from({ length: TOKENS }, (_, t) => (isLearnt(t) ? (7 * t) % VOCABULARY : -100))
const shares = {
  all: targetsBy(() => true),
  third: targetsBy((t) => t % 3 === 1),
  last: targetsBy((t) => t >= 25),
  one: targetsBy((t) => t === 17),
  none: targetsBy(() => false)
}
interface Setting extends LossOptions {
  readonly trained?: boolean
  readonly activations?: "f32" | "bf16"
  readonly accumulate?: boolean
}

/** Enqueues Σ loss · dy and its gradients; [losses, dx, dw]. */
const pass = (queue: Queue, table: typeof overrides, targets: ReadonlyArray<number>, setting: Setting) => {
  const { trained = false, activations = "f32", accumulate = false, ...options } = setting
  const scope = new Scope(queue, "weights")
  const make = (name: string, shape: ReadonlyArray<number>, seed: number, dtype: "f32" | "bf16" = "f32"): Tensor => {
    const t = scope.tensor(shape, name, dtype)
    queue.upload(t, () => uniforms(t.size, seed, 1).map((u) => 2 * u - 1))
    return t
  }
  const [x, dy] = [make("x", [TOKENS, WIDTH], 1, activations), make("dy", [TOKENS], 2)]
  const values = () => uniforms(VOCABULARY * WIDTH, 3, 1).map((u) => 3 * u - 1.5)
  const source = sourceOf("head", [VOCABULARY, WIDTH], values)
  const head = trained ? make("head", [VOCABULARY, WIDTH], 4) : denseCodec().encode(source, scope, "head")
  const ids = scope.tensor([TOKENS], "targets", "i32")
  queue.upload(ids, () => targets)
  const [dx, dw] = [make("dx", x.shape, 5, activations), make("dw", [VOCABULARY, WIDTH], 6)]
  const g = new Graph(queue, { overrides: table, activations })
  g.watch(x)
  if (trained) g.watch(head as Tensor) // made above
  const supervised = targets.filter((target) => target >= 0).length
  const losses = linearCrossEntropy(g, x, head, ids, { ...options, supervised })
  g.backward(losses, dy, (t) => (t === x ? { tensor: dx, accumulate } : { tensor: dw, accumulate }))
  const read = [losses, dx, ...(trained && supervised > 0 ? [dw] : [])]
  const close = () => {
    g[Symbol.dispose]()
    scope[Symbol.dispose]()
  }
  return { read, close }
}
const values = async (table: typeof overrides, targets: ReadonlyArray<number>, setting: Setting) => {
  const queue = new ReferenceQueue([1 << 20])
  const { read, close } = pass(queue, table, targets, setting)
  const all = await Promise.all(read.map((t) => queue.read(t)))
  close()
  assert.deepEqual(
    [...queue.allocator.live.values()].filter((bytes) => bytes > 0),
    []
  )
  return all
}

const settings: ReadonlyArray<Setting> = [
  {},
  { accumulate: true },
  { activations: "bf16" },
  { softCap: 1.5, smoothing: 0.1 }
]
for (const [share, targets] of Object.entries(shares)) {
  test(`${share} of the tokens learnt: losses and dx have the bits of the composed op, dw is its sum`, async () => {
    for (const setting of settings) {
      const got = await values(overrides, targets, setting)
      assert.deepEqual(got, await values(new Map(), targets, setting))
      assert.ok(share === "none" || got[0]!.some((loss) => loss > 0))
    }
    for (const setting of [{ trained: true }, { trained: true, softCap: 2, smoothing: 0.2 }]) {
      const [got, wanted] = [await values(overrides, targets, setting), await values(new Map(), targets, setting)]
      assert.equal(got.length, wanted.length)
      for (const [i, all] of wanted.entries())
        for (const [j, value] of all.entries())
          assert.ok(Math.abs(got[i]![j]! - value) < 1e-6, `${i}, ${j}: ${got[i]![j]}, wanted ${value}`)
    }
  })
}

test("finite differences: dx and dw are the slopes of Σ loss · dy over the learnt rows", async () => {
  const targets = shares.third
  const options = { softCap: 2, smoothing: 0.15, supervised: targets.filter((t) => t >= 0).length }
  const queue = new ReferenceQueue([1 << 20])
  const scope = new Scope(queue, "weights")
  const ids = scope.tensor([TOKENS], "targets", "i32")
  queue.upload(ids, () => targets)
  const [xs, ws] = [uniforms(TOKENS * WIDTH, 1, 1), uniforms(VOCABULARY * WIDTH, 2, 1)]
  const at = async (gradients: boolean) => {
    using inner = new Scope(queue, "weights")
    const tensor = (name: string, shape: ReadonlyArray<number>, of: ArrayLike<number>) => {
      const t = inner.tensor(shape, name)
      queue.upload(t, () => of)
      return t
    }
    const [x, w] = [tensor("x", [TOKENS, WIDTH], xs), tensor("w", [VOCABULARY, WIDTH], ws)]
    const [dx, dw] = [inner.tensor(x.shape, "dx"), inner.tensor(w.shape, "dw")]
    using g = new Graph(queue, { overrides })
    g.watch(x, w)
    const losses = linearCrossEntropy(g, x, w, ids, options)
    const sum = (await queue.read(losses)).reduce((a, b) => a + b, 0)
    if (!gradients) return { sum, dx: [], dw: [] }
    const ones = tensor("ones", [TOKENS], Array<number>(TOKENS).fill(1))
    g.backward(losses, ones, (t) => ({ tensor: t === x ? dx : dw, accumulate: false }))
    return { sum, dx: await queue.read(dx), dw: await queue.read(dw) }
  }
  const { dx, dw } = await at(true)
  const slope = async (of: Float32Array, i: number) => {
    const [before, step] = [of[i]!, 1 / 64]
    of[i] = before + step
    const above = await at(false)
    of[i] = before - step
    const below = await at(false)
    of[i] = before
    return (above.sum - below.sum) / (2 * step)
  }
  for (const i of [0, WIDTH + 1, 4 * WIDTH + 3, 7 * WIDTH + 5])
    assert.ok(Math.abs((await slope(xs, i)) - dx[i]!) < 2e-3, `dx[${i}]`)
  for (const i of [0, 7, 7 * WIDTH + 2]) assert.ok(Math.abs((await slope(ws, i)) - dw[i]!) < 2e-3, `dw[${i}]`)
  assert.equal(dx[2 * WIDTH], 0)
  scope[Symbol.dispose]()
})

test("memory is the same whatever is learnt, and the head multiplies the learnt rows alone", () => {
  const of = (targets: ReadonlyArray<number>) => {
    const limits = oneArena("meta")
    const rows: Array<number> = []
    class Watched extends MetaQueue {
      protected override submit(command: Parameters<MetaQueue["submit"]>[0]): void {
        super.submit(command)
        if (command.kernel.name.startsWith("dense.apply")) rows.push((command.params as { rows: number }).rows) // WeightSpan
      }
    }
    const queue = new Watched(limits)
    pass(queue, overrides, targets, {}).close()
    return { plan: queue.plan, rows }
  }
  const [all, third] = [of(shares.all), of(shares.third)]
  assert.deepEqual(third.plan, all.plan)
  assert.deepEqual(all.rows, [TOKENS, TOKENS])
  assert.deepEqual(third.rows, [13, 13])
})

test("chunks are longer where the step holds much, and always where the head is trained: its sums must not depend on it", () => {
  const chunks = (held: number, trained: boolean) => {
    const queue = new MetaQueue(oneArena("meta"))
    const weights = new Scope(queue, "weights")
    const x = weights.tensor([2048, 8], "x", "bf16")
    const shape = [49152, 8]
    const table = weights.tensor(shape, "head", "bf16")
    const source = sourceOf("head", shape, () => new Float32Array(shape[0]! * shape[1]!))
    const head = trained ? table : denseCodec().encode(source, weights, "head")
    const ids = weights.tensor([2048], "targets", "i32")
    for (const t of [x, table, ids]) queue.upload(t, () => [])
    using g = new Graph(queue, { overrides, activations: "bf16" })
    g.watch(x, ...(trained ? [table] : []))
    g.tensor([held], "kept", "f32")
    linearCrossEntropy(g, x, head, ids)
    const { length } = queue.ops.filter((op) => op === "takeRows")
    weights[Symbol.dispose]()
    return length - 2 // targets and losses are taken once
  }
  assert.deepEqual([chunks(1, false), chunks(180e6, false), chunks(1e9, false)], [19, 7, 6])
  assert.deepEqual([chunks(1, true), chunks(1e9, true)], [6, 6])
})

test("it is used where a loss is asked for without knowing how many rows are learnt", async () => {
  const queue = new ReferenceQueue([1 << 20])
  const scope = new Scope(queue, "weights")
  using g = new Graph(queue, { overrides })
  const x = scope.tensor([3, 2], "x")
  queue.upload(x, () => [1, 2, 3, 4, 5, 6])
  const wide = scope.tensor([3, 2], "wide")
  addInto(g, wide, x)
  const head = denseCodec().encode(
    sourceOf("head", [2, 2], () => [1, 0, 0, 1]),
    scope,
    "head"
  )
  const ids = scope.tensor([3], "targets", "i32")
  queue.upload(ids, () => [0, -1, 1])
  const losses = await queue.read(linearCrossEntropy(g, wide, head, ids))
  assert.ok(Math.abs(losses[0]! - Math.log(1 + Math.E)) < 1e-6)
  assert.equal(losses[1], 0)
  assert.ok(Math.abs(losses[2]! - Math.log(1 + Math.exp(-1))) < 1e-6)
  scope[Symbol.dispose]()
})
