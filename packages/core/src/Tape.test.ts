import assert from "node:assert/strict"
import test from "node:test"
import { assertClose, assertSame } from "../../testing/src/closeness.ts"
import { gradientsOf, onReference, planned } from "../../testing/src/onReference.ts"
import { randomTensor, tensorOf } from "../../testing/src/tensorOf.ts"
import { MetaQueue } from "./MetaQueue.ts"
import { defineOp, definePrimitive, override, Routed } from "./Op.ts"
import { swiglu } from "./ops/gatedUnit.ts"
import { linear } from "./ops/linear.ts"
import { rmsNorm } from "./ops/rmsNorm.ts"
import { addInto, addRows } from "./ops/rows.ts"
import { oneArena } from "./Queue.ts"
import { denseCodec } from "./reference/denseCodec.ts"
import { Graph, tensorsIn } from "./Tape.ts"
import { Scope, type Tensor } from "./Tensor.ts"
import { sourceOf } from "./TensorSource.ts"

test("a gradient through a frozen linear and swiglu is the derivative of the formula", () =>
  onReference(async (queue, scope) => {
    const w = denseCodec().encode(
      sourceOf("w", [3, 2], () => [1, 2, 3, 4, 5, 6]),
      scope,
      "w"
    )
    const x = tensorOf(scope, "x", [1, 2], [1, -1])
    const dx = scope.tensor([1, 2], "dx")
    const dy = tensorOf(scope, "dy", [1, 3], [1, 1, 1])
    {
      using g = new Graph(queue)
      g.watch(x)
      const h = linear(g, x, w)
      g.backward(swiglu(g, h, h), dy, () => ({ tensor: dx, accumulate: false }))
    }
    const f = (a: number, b: number) =>
      [a + 2 * b, 3 * a + 4 * b, 5 * a + 6 * b].reduce((s, h) => s + (h * h) / (1 + Math.exp(-h)), 0)
    const slopes = [(f(1.001, -1) - f(0.999, -1)) / 0.002, (f(1, -0.999) - f(1, -1.001)) / 0.002]
    assertClose(await queue.read(dx), slopes, 1e-5, "dx")
  }))

test("a trained tensor that an op captures is refused; a frozen input costs nothing", () =>
  onReference(async (queue, scope) => {
    const [x, a] = [randomTensor(scope, "x", [3, 4], 1), randomTensor(scope, "a", [2, 4], 2)]
    const sneaky = definePrimitive("sneaky", {
      forward: (g, t: Tensor) => ({ out: g.tensor(t.shape, "out"), saved: { deep: [{ a }] } }),
      backward: () => {}
    })
    using g = new Graph(queue)
    g.watch(a)
    assert.throws(() => sneaky(g, x), /sneaky: a is trained but is no argument of the op/)
    const w = denseCodec().encode(
      sourceOf("w", [4, 4], () => new Float32Array(16)),
      scope,
      "w"
    )
    const h = linear(g, x, w)
    assert.equal(g.needs(h), false)
    assert.equal(g.needs(linear(g, h, a)), true)
  }))

test("gradients that nobody reaches are zeros, and one tensor in several places gets the sum", () =>
  onReference(async (queue, scope) => {
    const [x, y] = [randomTensor(scope, "x", [3, 4], 1), randomTensor(scope, "y", [3, 4], 2)]
    const { gradients } = gradientsOf(queue, [x, y], (g) => swiglu(g, x, x))
    const twice = gradientsOf(queue, [x, y], (g) => swiglu(g, x, y))
    const same = gradientsOf(queue, [x, y], (g) => addRows(g, swiglu(g, x, y), swiglu(g, x, y), 0, 1))
    assert.ok((await gradients[1]!).every((v) => v === 0))
    for (const i of [0, 1])
      assertClose(
        await same.gradients[i]!,
        (await twice.gradients[i]!).map((v) => 2 * v),
        1e-6,
        "the sum"
      )
  }))

test("an op's output that nobody saves is freed at the end of its scope, and still routes the gradient", () => {
  const chain = (n: number, op: (g: Graph, h: Tensor) => Tensor) =>
    planned((queue, scope) => {
      const [x, dy, dx] = ["x", "dy", "dx"].map((name) => tensorOf(scope, name, [6, 8], [])) as [Tensor, Tensor, Tensor] // map keeps the length
      using g = new Graph(queue)
      g.watch(x)
      const y = g.scoped(() => {
        let h = x
        for (let i = 0; i < n; i++) {
          const next = op(g, h)
          g.release(h)
          h = next
        }
        return h
      })
      g.backward(y, dy, () => ({ tensor: dx, accumulate: false }))
    })
  const peaks = (plan: ReturnType<typeof planned>) => ({
    gradients: plan.byCategory.get("gradients") ?? 0,
    activations: plan.byCategory.get("activations") ?? 0
  })
  const square = (g: Graph, h: Tensor) => swiglu(g, h, h)
  const [few, many] = [peaks(chain(10, square)), peaks(chain(20, square))]
  assert.equal(few.gradients, many.gradients, "gradients on the way are freed once used")
  assert.ok(many.activations > few.activations, "what is saved stays")
  const adds = [10, 20].map((n) => peaks(chain(n, (g, h) => addRows(g, h, h, 0, 1))))
  assert.deepEqual(adds[0], adds[1], "what is only routed does not")
})

test("a residual passes its gradient on without a copy", () => {
  const meta = new MetaQueue(oneArena("meta"))
  const scope = new Scope(meta, "weights")
  const t = (name: string) => tensorOf(scope, name, [6, 8], [])
  const [x, branch, dx, dBranch, dy] = [t("x"), t("branch"), t("dx"), t("d branch"), t("dy")]
  using g = new Graph(meta)
  g.watch(x, branch)
  const h = swiglu(g, x, x)
  let y = h
  for (let i = 0; i < 5; i++) y = addRows(g, y, branch, 0, 1)
  const from = meta.ops.length
  const written = new Set<Tensor>()
  g.backward(y, dy, (leaf) => {
    const accumulate = written.has(leaf)
    written.add(leaf)
    return { tensor: leaf === x ? dx : dBranch, accumulate }
  })
  const ops = meta.ops.slice(from)
  // One addition a branch, none of dy, which is the caller's; swiglu's two gradients of x with a temporary.
  assert.equal(ops.filter((op) => op === "addScaled").length, 5 + 1, ops.join(" "))
})

test("a gradient that was passed on is not freed early, nor shared by two", () =>
  onReference(async (queue, scope) => {
    const inputs = ["a", "b", "c"].map((name, i) => randomTensor(scope, name, [3, 4], i))
    const { gradients } = gradientsOf(queue, inputs, (g) => {
      const [a, b, c] = inputs as [Tensor, Tensor, Tensor] // map keeps the length
      const p = swiglu(g, a, b)
      const q = addRows(g, p, swiglu(g, b, c), 0, 1)
      return addRows(g, q, p, 0, 1) // p's gradient comes from two sides
    })
    const wanted = gradientsOf(queue, inputs, (g) => {
      const [a, b, c] = inputs as [Tensor, Tensor, Tensor]
      const p = swiglu(g, a, b)
      return addRows(g, swiglu(g, b, c), p, 0, 2)
    })
    for (const i of inputs.keys())
      assertClose(await gradients[i]!, await wanted.gradients[i]!, 1e-6, `gradient of ${inputs[i]!.name}`)
  }))

test("enter and leave run in order forwards, and in reverse backwards, around what needs a gradient", () =>
  onReference(async (queue, scope) => {
    const log: Array<string> = []
    const x = randomTensor(scope, "x", [2, 2], 1)
    const layer = (g: Graph, name: string, h: Tensor): Tensor =>
      g.bracket(
        () => log.push(`enter ${name}`),
        () => log.push(`leave ${name}`),
        () => {
          log.push(`run ${name}`)
          return probe(g, h, name)
        }
      )
    const probe = definePrimitive("probe", {
      forward: (g, h: Tensor, name: string) => {
        const out = g.tensor(h.shape, name)
        addInto(g, out, h)
        return { out, saved: { h: new Routed(h), name } }
      },
      backward: (g, dy, { h, name }, into) => {
        log.push(`back ${name}`)
        const d = into(h.tensor)
        if (d !== undefined) addInto(g, d.tensor, dy, { accumulate: d.accumulate })
      }
    })
    gradientsOf(queue, [x], (g) => layer(g, "b", layer(g, "a", x)))
    assert.deepEqual(log, [
      ...["a", "b"].flatMap((n) => [`enter ${n}`, `run ${n}`, `leave ${n}`]),
      ...["b", "a"].flatMap((n) => [`enter ${n}`, `back ${n}`, `leave ${n}`])
    ])
    log.length = 0
    using g = new Graph(queue)
    layer(g, "frozen", x)
    assert.deepEqual(log, ["enter frozen", "run frozen", "leave frozen"])
    assert.throws(
      () =>
        g.bracket(
          () => log.push("enter"),
          () => log.push("leave"),
          () => {
            throw new RangeError("within")
          }
        ),
      /within/
    )
    assert.deepEqual(log.slice(3), ["enter", "leave"], "leave runs when the body throws")
  }))

test("an override replaces an op with its own arguments, also within composed ops", () =>
  onReference(async (queue, scope) => {
    const square = definePrimitive("square", {
      forward: (g, t: Tensor) => {
        const out = g.tensor(t.shape, "square")
        addInto(g, out, t, { scale: 1 })
        return { out, saved: { t: new Routed(t) } }
      },
      backward: (g, dy, { t }, into) => {
        const d = into(t.tensor)
        if (d !== undefined) addInto(g, d.tensor, dy, { accumulate: d.accumulate })
      }
    })
    const both = defineOp("both", (g: Graph, t: Tensor) => addRows(g, square(g, t), square(g, t), 0, 1))
    const seven = override(
      square,
      {
        forward: (g, t) => {
          const out = g.tensor(t.shape, "seven")
          addInto(g, out, t, { scale: 7 })
          return { out, saved: { t: new Routed(t) } }
        },
        backward: (g, dy, { t }, into) => {
          const d = into(t.tensor)
          if (d !== undefined) addInto(g, d.tensor, dy, { scale: 7, accumulate: d.accumulate })
        }
      },
      "sevenfold"
    )
    assert.deepEqual([seven.op, seven.implementation, square.opName], ["square", "sevenfold", "square"])
    const x = tensorOf(scope, "x", [1, 2], [1, 2])
    const options = { overrides: new Map([[seven.op, seven]]) }
    const { value, gradients } = gradientsOf(queue, [x], (g) => both(g, x), options)
    assertSame(await value, [14, 28], "value")
    const plain = gradientsOf(queue, [x], (g) => both(g, x))
    assertClose(
      await gradients[0]!,
      (await plain.gradients[0]!).map((v) => 7 * v),
      1e-6,
      "gradient"
    )
  }))

test("a scope that throws frees what it made; the graph goes on", () =>
  onReference(async (queue, scope) => {
    const x = randomTensor(scope, "x", [4, 4], 1)
    using g = new Graph(queue)
    const before = queue.allocator.liveBytes
    assert.throws(
      () =>
        g.scoped(() => {
          swiglu(g, x, x)
          throw new RangeError("within")
        }),
      /within/
    )
    assert.equal(queue.allocator.liveBytes, before)
    assert.equal((await queue.read(swiglu(g, x, x))).length, 16)
  }))

test("tensors are found in arrays and plain objects, not in class instances", () =>
  onReference(async (_, scope) => {
    const [a, b, c] = ["a", "b", "c"].map((name, i) => randomTensor(scope, name, [1], i)) as [Tensor, Tensor, Tensor] // map keeps the length
    class Holder {
      readonly t = c
    }
    assert.deepEqual(tensorsIn([a, { deep: [b, { a }] }, new Holder(), 3, null, undefined, "x"]), [a, b])
  }))

test("what is cheap is not held: its memory goes with its scope, its values come back once for all who read them", () =>
  onReference(async (queue, scope) => {
    const [x, gain] = [randomTensor(scope, "x", [6, 4], 1), randomTensor(scope, "gain", [4], 2)]
    const weights = [randomTensor(scope, "a", [4, 4], 3), randomTensor(scope, "b", [4, 4], 4)] as const
    const block = (g: Graph): Tensor => {
      const h = rmsNorm(g, x, gain, 1e-5)
      return addRows(g, linear(g, h, weights[0]), linear(g, h, weights[1]), 0, 1)
    }
    let runs = 0
    const count = (name: string) => {
      if (name === "rmsNorm") runs++
    }
    const run = (body: (g: Graph) => Tensor) => {
      runs = 0
      const enqueue = queue.enqueue.bind(queue)
      queue.enqueue = (kernel, operands, params) => {
        count(kernel.name)
        enqueue(kernel, operands, params)
      }
      const passes = gradientsOf(queue, [x, gain, ...weights], body)
      queue.enqueue = enqueue
      return { ...passes, runs }
    }
    const [kept, again] = [run(block), run((g) => g.scoped(() => block(g)))]
    assert.deepEqual([kept.runs, again.runs], [1, 2])
    for (const [i, gradient] of kept.gradients.entries())
      assertSame(await again.gradients[i]!, await gradient, `gradient ${i}`)
    const held = (body: (g: Graph) => Tensor): number => {
      using g = new Graph(queue)
      g.watch(...weights)
      const before = queue.allocator.liveBytes
      g.release(body(g))
      return queue.allocator.liveBytes - before
    }
    assert.equal(
      held((g) => g.scoped(() => block(g))),
      0,
      "x and the gain are somebody else's"
    )
    assert.ok(held(block) > 0)
  }))
