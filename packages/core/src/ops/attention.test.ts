import assert from "node:assert/strict"
import test from "node:test"
import { assertClose, assertSame } from "../../../testing/src/closeness.ts"
import { gradientsOf, onReference } from "../../../testing/src/onReference.ts"
import { randomTensor, randomValues, tensorOf } from "../../../testing/src/tensorOf.ts"
import { Graph } from "../Tape.ts"
import type { Scope, Tensor } from "../Tensor.ts"
import { attention } from "./attention.ts"
import { addInto } from "./rows.ts"

const sizes = { heads: 4, kvHeads: 2, headDim: 6, scale: 0.4 }
const segmentsOf = (scope: Scope, ...rows: ReadonlyArray<readonly [number, number, number, number]>): Tensor =>
  tensorOf(scope, "segments", [rows.length, 4], rows.flat(), "i32")
const queryKeyValue = (scope: Scope, tokens: number): readonly [Tensor, Tensor, Tensor] => [
  randomTensor(scope, "q", [tokens, 24], 1),
  randomTensor(scope, "k", [tokens, 12], 2),
  randomTensor(scope, "v", [tokens, 12], 3)
]

test("one head attends as the formula says", () =>
  onReference(async (queue, scope) => {
    const [tokens, width] = [5, 4]
    const [q, k, v] = [1, 2, 3].map((seed) => randomValues(tokens * width, seed)) as [
      Float32Array,
      Float32Array,
      Float32Array
    ] // map keeps the length
    using g = new Graph(queue)
    const tensors = [q, k, v].map((values, i) => tensorOf(scope, "qkv"[i]!, [tokens, width], values)) as [
      Tensor,
      Tensor,
      Tensor
    ]
    const out = attention(g, ...tensors, segmentsOf(scope, [0, tokens, 0, tokens]), {
      heads: 1,
      kvHeads: 1,
      headDim: width,
      scale: 0.5
    })
    const wanted = Array.from({ length: tokens }, (_, i) => {
      const scores = Array.from({ length: i + 1 }, (_, j) =>
        Math.exp(
          0.5 * Array.from({ length: width }, (_, c) => q[i * width + c]! * k[j * width + c]!).reduce((a, b) => a + b)
        )
      )
      const total = scores.reduce((a, b) => a + b)
      return Array.from({ length: width }, (_, c) => scores.reduce((s, p, j) => s + (p / total) * v[j * width + c]!, 0))
    })
    assertClose(await queue.read(out), wanted.flat(), 1e-6, "attention")
  }))
test("grouped queries read their group's keys: the same as repeating them", () =>
  onReference(async (queue, scope) => {
    const tokens = 5
    const [q, k, v] = queryKeyValue(scope, tokens)
    const segments = segmentsOf(scope, [0, 3, 0, 3], [3, 2, 3, 2])
    const repeated = (seed: number) =>
      Float32Array.from({ length: tokens * 24 }, (_, i) => {
        const [t, head, c] = [Math.floor(i / 24), Math.floor((i % 24) / 6), i % 6]
        return randomValues(tokens * 12, seed)[t * 12 + (head >> 1) * 6 + c]!
      })
    const [kAll, vAll] = [2, 3].map((seed) => tensorOf(scope, "repeated", [tokens, 24], repeated(seed))) as [
      Tensor,
      Tensor
    ] // map keeps the length
    const grouped = gradientsOf(queue, [q, k, v], (g) => attention(g, q, k, v, segments, sizes))
    const plain = gradientsOf(queue, [q, kAll, vAll], (g) =>
      attention(g, q, kAll, vAll, segments, { ...sizes, kvHeads: 4 })
    )
    assertSame(await grouped.value, await plain.value, "value")
    assertSame(await grouped.gradients[0]!, await plain.gradients[0]!, "dq")
    for (const i of [1, 2]) {
      const each = await plain.gradients[i]!
      const summed = Float32Array.from({ length: tokens * 12 }, (_, at) => {
        const [t, group, c] = [Math.floor(at / 12), Math.floor((at % 12) / 6), at % 6]
        return each[t * 24 + 2 * group * 6 + c]! + each[t * 24 + (2 * group + 1) * 6 + c]!
      })
      assertClose(await grouped.gradients[i]!, summed, 1e-6, `d${"qkv"[i]}`)
    }
  }))
test("a packed document keeps its bits when the other changes, forwards and backwards", () =>
  onReference(async (queue, scope) => {
    const run = async (seed: number) => {
      const [q, k, v] = [24, 12, 12].map((width, i) =>
        tensorOf(
          scope,
          "qkv"[i]!,
          [7, width],
          [...randomValues(3 * width, seed + i), ...randomValues(4 * width, 9 + i)]
        )
      ) as [Tensor, Tensor, Tensor] // map keeps the length
      const segments = segmentsOf(scope, [0, 3, 0, 3], [3, 4, 3, 4])
      const { value, gradients } = gradientsOf(queue, [q, k, v], (g) => attention(g, q, k, v, segments, sizes))
      const all = [await value, ...(await Promise.all(gradients))]
      return {
        first: all.map((t) => t.slice(0, (3 * t.length) / 7)),
        second: all.map((t) => t.slice((3 * t.length) / 7))
      }
    }
    const [one, two] = [await run(40), await run(50)]
    for (const i of one.second.keys()) {
      assertSame(two.second[i]!, one.second[i]!, `the second document, ${i}`)
      assert.notDeepEqual(two.first[i], one.first[i])
    }
  }))
test("decoding token by token over a cache gives the bits of one pass", () =>
  onReference(async (queue, scope) => {
    const tokens = 6
    const [q, k, v] = queryKeyValue(scope, tokens)
    using g = new Graph(queue)
    const whole = await queue.read(attention(g, q, k, v, segmentsOf(scope, [0, tokens, 0, tokens]), sizes))
    const [keys, values] = [scope.tensor([16, 12], "keys"), scope.tensor([16, 12], "values")]
    const out: Array<number> = []
    for (let t = 0; t < tokens; t++) {
      const row = scope.tensor([1, 24], "one query")
      addInto(g, row, q, { rows: 1, xRow: t })
      addInto(g, keys, k, { rows: 1, xRow: t, outRow: 4 + t })
      addInto(g, values, v, { rows: 1, xRow: t, outRow: 4 + t })
      out.push(...(await queue.read(attention(g, row, keys, values, segmentsOf(scope, [0, 1, 4, t + 1]), sizes))))
    }
    assertSame(out, whole, "decoded")
  }))
test("sizes that do not fit are refused", () =>
  onReference(async (queue, scope) => {
    const [q, k, v] = queryKeyValue(scope, 3)
    const segments = segmentsOf(scope, [0, 3, 0, 3])
    using g = new Graph(queue)
    assert.throws(() => attention(g, q, k, v, segments, { ...sizes, kvHeads: 3 }), /4 heads over 3 key heads/)
    assert.throws(() => attention(g, k, q, v, segments, sizes), /widths differ/)
    assert.throws(() => attention(g, q, k, v, tensorOf(scope, "s", [3], [0, 3, 0], "i32"), sizes), TypeError)
  }))
