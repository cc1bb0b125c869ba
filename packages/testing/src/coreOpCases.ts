/** Every op of core, and what ops are made of: frozen and trained, windows, one tensor in two places, segments, checkpoints. */
import {
  addRows,
  attention,
  checkpoint,
  type DropoutKey,
  type DType,
  denseCodec,
  dropout,
  embedding,
  type Graph,
  geglu,
  linear,
  linearCrossEntropy,
  loraLinear,
  rmsNorm,
  rope,
  ropeTable,
  type Scope,
  scaleColumns,
  sizeOf,
  sourceOf,
  sum,
  swiglu,
  type Tensor,
  type Weight
} from "@graft/core"
import type { Apply, OpCase, OpInput } from "./OpCase.ts"
import { gridValues, randomValues, tensorOf } from "./tensorOf.ts"

const TOKENS = 7
const WIDTH = 12
const RANK = 3

const x: OpInput = { name: "x", shape: [TOKENS, WIDTH] }
const y: OpInput = { name: "y", shape: [TOKENS, WIDTH] }
const input = (name: string, ...shape: ReadonlyArray<number>): OpInput => ({ name, shape })
const parameter = (name: string, ...shape: ReadonlyArray<number>): OpInput => ({ name, shape, parameter: true })

/** A frozen W [out, in], of values that are exact in each dtype's neighbourhood of 1. */
const frozen = (scope: Scope, out: number, inner: number, dtype: DType = "f32"): Weight =>
  denseCodec().encode(
    sourceOf("w", [out, inner], () => randomValues(out * inner, 20), dtype),
    scope,
    "w"
  )
const keyOf = (scope: Scope): DropoutKey => ({
  rate: 0.3,
  seed: 1,
  step: 1,
  site: 5,
  rowKeys: tensorOf(
    scope,
    "rowKeys",
    [TOKENS, 2],
    Array.from({ length: 2 * TOKENS }, (_, i) => i),
    "i32"
  )
})
const targetsOf = (scope: Scope): Tensor => tensorOf(scope, "targets", [TOKENS], [1, 2, -1, 0, 3, 7, 9], "i32")
/** Two documents. */
const segmentsOf = (scope: Scope): Tensor => tensorOf(scope, "segments", [2, 4], [0, 4, 0, 4, 4, 3, 4, 3], "i32")
const tableOf = (g: Graph, scope: Scope, headDim: number): Tensor => {
  const keys = Array.from({ length: 2 * TOKENS }, (_, i) => (i % 2 === 0 ? 0 : i))
  const frequencies = Array.from({ length: headDim / 2 }, (_, i) => 100 ** ((-2 * i) / headDim))
  return ropeTable(
    g,
    tensorOf(scope, "rope keys", [TOKENS, 2], keys, "i32"),
    tensorOf(scope, "frequencies", [headDim / 2], frequencies),
    1
  )
}
const normOf = (scope: Scope, n: number): Tensor =>
  tensorOf(
    scope,
    "norm",
    [n],
    randomValues(n, 11).map((v) => 2 + v)
  )
const opCase = (name: string, inputs: ReadonlyArray<OpInput>, prepare: (scope: Scope) => Apply): OpCase => ({
  name,
  inputs,
  prepare
})
/** Tensors by name: a case lists as many inputs as its call takes. */
const named = (call: (g: Graph, ...inputs: ReadonlyArray<Tensor>) => Tensor) => (): Apply => (g, inputs) =>
  call(g, ...inputs)

const heads = { heads: 6, kvHeads: 3, headDim: 4, scale: 0.5 }
const query = input("q", TOKENS, 24)
const [keys, values] = [input("k", TOKENS, 12), input("v", TOKENS, 12)]

const adapters = ["a", "b", "a2", "b2"].map((name) =>
  name.startsWith("a") ? parameter(name, RANK, WIDTH) : parameter(name, WIDTH, RANK)
)
/** Two adapters, one on the first rows with dropout, one on the last; row 4 has none. */
const twoAdapters =
  (scope: Scope, weight = frozenOnce): Apply =>
  (g, [t, a, b, a2, b2]) =>
    loraLinear(g, t!, weight(scope), [
      { start: 0, rows: 4, a: a!, b: b!, scale: 2, dropout: keyOnce(scope) },
      { start: 5, rows: 2, a: a2!, b: b2!, scale: 1 }
    ])
/** Constants are made once a scope, not once a call. */
const once = <A>(make: (scope: Scope) => A): ((scope: Scope) => A) => {
  const made = new WeakMap<Scope, A>()
  return (scope) => {
    const known = made.get(scope) ?? make(scope)
    made.set(scope, known)
    return known
  }
}
const frozenOnce = once((scope) => frozen(scope, WIDTH, WIDTH))
/** Where blocks follow each other a rounded input would grow beyond the tolerance: these are exact in bf16. */
const exactOnce = once((scope) => frozen(scope, WIDTH, WIDTH, "bf16"))
const inBf16 = (t: OpInput, i: number): OpInput => ({ ...t, values: gridValues(sizeOf(t.shape), 100 + i) })
const keyOnce = once(keyOf)

const trainedHead = parameter("head", 10, WIDTH)
/** A block as a model has it: norm, adapted linear, activation, frozen linear, residual. */
const block = (w: Weight, key: DropoutKey, a: Tensor, b: Tensor, gain: Tensor) => (g: Graph, t: Tensor) => {
  const h = loraLinear(g, rmsNorm(g, t, gain, 1e-5), w, [{ start: 0, rows: t.rows, a, b, scale: 1, dropout: key }])
  return addRows(g, t, linear(g, swiglu(g, h, h), w), 0, 1)
}

export const coreOpCases: ReadonlyArray<OpCase> = [
  ...(["f32", "bf16", "f16"] as const).map((dtype) => ({
    ...opCase(`linear, frozen ${dtype}`, [x], (scope) => {
      const w = frozen(scope, 5, WIDTH, dtype)
      return (g, [t]) => linear(g, t!, w)
    }),
    needs: [dtype]
  })),
  opCase(
    "linear, trained",
    [x, parameter("w", 5, WIDTH)],
    named((g, t, w) => linear(g, t!, w!))
  ),
  opCase(
    "linear of a tensor by itself",
    [x],
    named((g, t) => linear(g, t!, t!))
  ),
  opCase("one tensor used twice", [x], (scope) => {
    const w = frozen(scope, 5, WIDTH)
    return (g, [t]) => {
      const h = linear(g, t!, w)
      return swiglu(g, h, h)
    }
  }),
  opCase(
    "addRows",
    [x, y],
    named((g, a, b) => addRows(g, a!, b!, 0, 1))
  ),
  opCase(
    "addRows, part",
    [x, input("part", 2, WIDTH)],
    named((g, a, b) => addRows(g, a!, b!, 3, -0.5))
  ),
  opCase(
    "addRows of a tensor to itself",
    [x],
    named((g, a) => addRows(g, a!, a!, 0, 0.5))
  ),
  opCase(
    "addRows in a chain",
    [x, y],
    named((g, a, b) => addRows(g, addRows(g, a!, b!, 0, 1), addRows(g, b!, a!, 0, 2), 0, 1))
  ),
  opCase(
    "addRows of what is read again",
    [x, y],
    named((g, a, b) => {
      const [t, u] = [swiglu(g, a!, b!), swiglu(g, b!, b!)]
      const v = swiglu(g, t, u) // adds to the gradients that the sum gives t and u in one
      return addRows(g, addRows(g, t, u, 0, 1), v, 0, 1)
    })
  ),
  opCase(
    "linear of some rows, twice",
    [x, parameter("a", 3, WIDTH)],
    named((g, t, w) =>
      addRows(g, linear(g, t!, w!, { start: 0, rows: 4 }), linear(g, t!, w!, { start: 2, rows: 4 }), 0, 1)
    )
  ),
  opCase(
    "rmsNorm",
    [x, parameter("gain", WIDTH)],
    named((g, t, w) => rmsNorm(g, t!, w!, 1e-5))
  ),
  opCase(
    "swiglu",
    [x, y],
    named((g, gate, up) => swiglu(g, gate!, up!))
  ),
  opCase(
    "geglu",
    [x, y],
    named((g, gate, up) => geglu(g, gate!, up!))
  ),
  opCase("dropout", [x], (scope) => {
    const key = keyOf(scope)
    return (g, [t]) => dropout(g, t!, key)
  }),
  opCase("dropout of the last rows", [x], (scope) => {
    const key = keyOf(scope)
    return (g, [t]) => dropout(g, t!, key, { start: 4, rows: 3 })
  }),
  opCase(
    "rope",
    [x],
    (scope) =>
      (g, [t]) =>
        rope(g, t!, tableOf(g, scope, 6), 2)
  ),
  opCase("rope, used twice", [x], (scope) => (g, [t]) => {
    const table = tableOf(g, scope, 4)
    return addRows(g, rope(g, t!, table, 3), t!, 0, 1)
  }),
  opCase("attention, grouped queries", [query, keys, values], (scope) => {
    const segments = segmentsOf(scope)
    return (g, [q, k, v]) => attention(g, q!, k!, v!, segments, heads)
  }),
  opCase("attention of a tensor to itself", [x], (scope) => {
    const segments = segmentsOf(scope)
    return (g, [t]) => attention(g, t!, t!, t!, segments, { ...heads, heads: 3 })
  }),
  opCase("attention, rows that no segment names", [x, y], (scope) => {
    const segments = tensorOf(scope, "segments", [1, 4], [1, 4, 2, 5], "i32")
    return (g, [q, k]) => attention(g, q!, k!, k!, segments, { ...heads, heads: 3 })
  }),
  opCase("scaleColumns", [x, parameter("m", WIDTH)], (scope) => {
    const norm = normOf(scope, WIDTH)
    return (g, [t, m]) => scaleColumns(g, t!, m!, norm)
  }),
  opCase(
    "sum",
    [x],
    named((g, t) => sum(g, t!, 0.25))
  ),
  opCase("embedding, trained", [parameter("w", 9, WIDTH)], (scope) => {
    const ids = tensorOf(scope, "ids", [5], [3, 0, 3, 8, 3], "i32")
    return (g, [w]) => embedding(g, w!, ids)
  }),
  opCase("embedding, frozen, and a residual", [input("x", 5, WIDTH)], (scope) => {
    const w = frozen(scope, 9, WIDTH)
    const ids = tensorOf(scope, "ids", [5], [3, 0, 3, 8, 3], "i32")
    return (g, [t]) => addRows(g, embedding(g, w, ids), t!, 0, 1)
  }),
  opCase("linearCrossEntropy, frozen head", [x], (scope) => {
    const head = frozen(scope, 10, WIDTH)
    const targets = targetsOf(scope)
    return (g, [t]) => linearCrossEntropy(g, t!, head, targets)
  }),
  ...[{ softCap: 1.5 }, { smoothing: 0.1 }, { softCap: 2, smoothing: 0.3 }].map((options) =>
    opCase(`linearCrossEntropy, ${JSON.stringify(options)}`, [x, trainedHead], (scope) => {
      const targets = targetsOf(scope)
      return (g, [t, head]) => linearCrossEntropy(g, t!, head!, targets, options)
    })
  ),
  opCase("linearCrossEntropy, trained head", [x, trainedHead], (scope) => {
    const targets = targetsOf(scope)
    return (g, [t, head]) => linearCrossEntropy(g, t!, head!, targets)
  }),
  opCase("embedding and head tied", [trainedHead], (scope) => {
    const ids = tensorOf(scope, "ids", [TOKENS], [1, 4, 4, 9, 0, 2, 6], "i32")
    const targets = targetsOf(scope)
    return (g, [w]) => linearCrossEntropy(g, swiglu(g, embedding(g, w!, ids), embedding(g, w!, ids)), w!, targets)
  }),
  opCase("loraLinear", [x, ...adapters], twoAdapters),
  opCase(
    "loraLinear without an adapter",
    [x],
    (scope) =>
      (g, [t]) =>
        loraLinear(g, t!, frozenOnce(scope), [])
  ),
  opCase("checkpoint", [x, ...adapters, parameter("gain", WIDTH)].map(inBf16), (scope) => (g, inputs) => {
    const [t, gain] = [inputs[0]!, inputs[5]!]
    return checkpoint(g, t, (inner, u) =>
      rmsNorm(inner, swiglu(inner, twoAdapters(scope, exactOnce)(inner, [u, ...inputs.slice(1)]), u), gain, 1e-5)
    )
  }),
  opCase(
    "checkpoint in a checkpoint",
    [x, parameter("a", RANK, WIDTH), parameter("b", WIDTH, RANK), parameter("gain", WIDTH)].map(inBf16),
    (scope) =>
      (g, [t, a, b, gain]) => {
        const f = block(exactOnce(scope), keyOnce(scope), a!, b!, gain!)
        return checkpoint(g, t!, (inner, u) => f(inner, checkpoint(inner, f(inner, u), f)))
      }
  )
]
/** How many numbers a case's inputs have, for reports. */
export const inputSize = ({ inputs }: OpCase): number => inputs.reduce((n, { shape }) => n + sizeOf(shape), 0)
