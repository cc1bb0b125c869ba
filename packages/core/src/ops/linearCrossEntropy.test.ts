import assert from "node:assert/strict"
import test from "node:test"
import { assertClose, assertSame } from "../../../testing/src/closeness.ts"
import { outputGradient } from "../../../testing/src/OpCase.ts"
import { gradientsOf, onReference, planned } from "../../../testing/src/onReference.ts"
import { randomTensor, randomValues, tensorOf } from "../../../testing/src/tensorOf.ts"
import { denseCodec } from "../reference/denseCodec.ts"
import { Graph } from "../Tape.ts"
import { sourceOf } from "../TensorSource.ts"
import { type LossOptions, linearCrossEntropy } from "./linearCrossEntropy.ts"

/** Losses, and gradients of Σ loss · dy, in double precision. */
const formula = (
  x: Float32Array,
  w: Float32Array,
  targets: ReadonlyArray<number>,
  width: number,
  { softCap = 0, smoothing = 0 }: LossOptions = {}
) => {
  const [tokens, vocab] = [targets.length, w.length / width]
  const dy = outputGradient(tokens)
  const losses = new Float64Array(tokens)
  const dx = new Float64Array(x.length)
  const dw = new Float64Array(w.length)
  for (const [t, target] of targets.entries()) {
    if (target < 0) continue
    const logits = new Float64Array(vocab)
    for (let c = 0; c < vocab; c++) for (let i = 0; i < width; i++) logits[c]! += x[t * width + i]! * w[c * width + i]!
    const slopes = logits.map((v) => (softCap > 0 ? 1 - Math.tanh(v / softCap) ** 2 : 1))
    if (softCap > 0) for (let c = 0; c < vocab; c++) logits[c] = softCap * Math.tanh(logits[c]! / softCap)
    let [top, sum] = [-Infinity, 0]
    for (const v of logits) top = Math.max(top, v)
    for (const v of logits) sum += Math.exp(v - top)
    const weight = (c: number) => (c === target ? 1 - smoothing : 0) + smoothing / vocab
    losses[t] = Math.log(sum) + top - logits.reduce((all, v, c) => all + weight(c) * v, 0)
    for (let c = 0; c < vocab; c++) {
      const d = (Math.exp(logits[c]! - top) / sum - weight(c)) * slopes[c]! * dy[t]!
      for (let i = 0; i < width; i++) {
        dx[t * width + i]! += d * w[c * width + i]!
        dw[c * width + i]! += d * x[t * width + i]!
      }
    }
  }
  return { losses, dx, dw }
}
test("losses and gradients are those of the formula; what is not learnt has none", () =>
  onReference(async (queue, scope) => {
    const [vocab, width] = [11, 5]
    const targets = [1, 10, -1, 0, -100, 3]
    const [xs, ws] = [randomValues(targets.length * width, 1), randomValues(vocab * width, 2, 3)]
    const x = tensorOf(scope, "x", [targets.length, width], xs)
    const ids = tensorOf(scope, "targets", [targets.length], targets, "i32")
    const frozen = denseCodec().encode(
      sourceOf("head", [vocab, width], () => ws),
      scope,
      "head"
    )
    const head = tensorOf(scope, "head", [vocab, width], ws)
    for (const options of [{}, { softCap: 2 }, { smoothing: 0.2 }, { softCap: 3, smoothing: 0.1 }]) {
      const wanted = formula(xs, ws, targets, width, options)
      const what = JSON.stringify(options)
      const one = gradientsOf(queue, [x], (g) => linearCrossEntropy(g, x, frozen, ids, options))
      assertClose(await one.value, wanted.losses, 1e-5, `losses, frozen head ${what}`)
      assertClose(await one.gradients[0]!, wanted.dx, 1e-5, `dx, frozen head ${what}`)
      const two = gradientsOf(queue, [x, head], (g) => linearCrossEntropy(g, x, head, ids, options))
      assertClose(await two.value, wanted.losses, 1e-5, `losses, trained head ${what}`)
      assertClose(await two.gradients[0]!, wanted.dx, 1e-5, `dx, trained head ${what}`)
      assertClose(await two.gradients[1]!, wanted.dw, 1e-5, `dw ${what}`)
    }
  }))
test("chunk by chunk it is what each row is alone", { timeout: 60_000 }, () =>
  onReference(
    async (queue, scope) => {
      const vocab = 3_000_000 // two rows a chunk, the last one has one
      const targets = [7, -1, 2_999_999, 0, 12]
      const ws = randomValues(vocab, 2, 3)
      const frozen = denseCodec().encode(
        sourceOf("head", [vocab, 1], () => ws),
        scope,
        "head"
      )
      const trained = tensorOf(scope, "head", [vocab, 1], ws)
      const dy = outputGradient(targets.length)
      for (const head of [frozen, trained]) {
        const gradients = (rows: ReadonlyArray<number>) => {
          const xs = rows.map((t) => randomValues(targets.length, 1)[t]!)
          const x = tensorOf(scope, "x", [rows.length, 1], xs)
          const ids = tensorOf(
            scope,
            "targets",
            [rows.length],
            rows.map((t) => targets[t]!),
            "i32"
          )
          const inputs = head === trained ? [x, trained] : [x]
          return gradientsOf(queue, inputs, (g) => linearCrossEntropy(g, x, head, ids))
        }
        const all = gradients([0, 1, 2, 3, 4])
        const [losses, dx] = [await all.value, await all.gradients[0]!]
        const dw = await (all.gradients[1] ?? [])
        const summed = new Float64Array(dw.length)
        for (const t of targets.keys()) {
          const one = gradients([t])
          const scale = dy[t]! / dy[0]!
          assertSame([losses[t]!], await one.value, `loss of row ${t}`)
          assertClose([dx[t]!], [(await one.gradients[0]!)[0]! * scale], 1e-5, `dx of row ${t}`)
          const own = await (one.gradients[1] ?? [])
          for (let c = 0; c < own.length; c++) summed[c]! += own[c]! * scale
        }
        assertClose(dw, summed, 1e-5, "dw")
      }
    },
    512 * 2 ** 20
  )
)

test("logits are never whole, and are not kept", () => {
  const vocab = 1 << 20 // 8 rows a chunk
  const peak = (tokens: number) =>
    planned((queue, scope) => {
      const head = denseCodec().encode(
        sourceOf("head", [vocab, 2], () => []),
        scope,
        "head"
      )
      const x = randomTensor(scope, "x", [tokens, 2], 1)
      const ids = tensorOf(scope, "targets", [tokens], Array<number>(tokens).fill(0), "i32")
      gradientsOf(queue, [x], (g) => linearCrossEntropy(g, x, head, ids))
    }).byCategory.get("activations")!
  assert.ok(peak(64) < 33 * 2 ** 20, `${peak(64)}`)
  assert.ok(peak(64) - peak(8) < 64 * 64)
})
test("without a gradient nothing is made for one", () => {
  const plan = planned((queue, scope) => {
    const head = denseCodec().encode(
      sourceOf("head", [64, 4], () => []),
      scope,
      "head"
    )
    const x = randomTensor(scope, "x", [8, 4], 1)
    using g = new Graph(queue)
    linearCrossEntropy(g, x, head, tensorOf(scope, "targets", [8], [], "i32"))
    assert.deepEqual(
      queue.ops.filter((op) => op.startsWith("dense")),
      ["dense.apply"]
    )
  })
  assert.equal(plan.byCategory.get("gradients"), undefined)
})
test("in bf16 the loss stays f32", () =>
  onReference(async (queue, scope) => {
    const head = denseCodec().encode(
      sourceOf("head", [9, 4], () => randomValues(36, 3)),
      scope,
      "head"
    )
    const x = randomTensor(scope, "x", [3, 4], 1, "bf16")
    const ids = tensorOf(scope, "targets", [3], [1, 2, 8], "i32")
    const { value, gradients } = gradientsOf(queue, [x], (g) => linearCrossEntropy(g, x, head, ids), {
      activations: "bf16"
    })
    const exact = tensorOf(scope, "x", [3, 4], await queue.read(x))
    const wanted = gradientsOf(queue, [exact], (g) => linearCrossEntropy(g, exact, head, ids))
    assertSame(await value, await wanted.value, "losses")
    assertClose(await gradients[0]!, await wanted.gradients[0]!, 1 / 64, "dx")
  }))

/** torch 2.15: CrossEntropyLoss(label_smoothing=0.1, reduction="none")(2 · tanh(x wᵀ / 2), targets) in f64, and the gradients of its sum. */
const torch = {
  x: [0.5, -1.25, 0.75, 1.5, 0.25, -0.5, -0.75, 1, 0.125, 2, -0.5, 1],
  w: [0.25, -0.5, 1, 1.5, 0.75, -1, -0.5, 0.125, 0.25, 2, -1.5, 0.5, -1, 1, -0.25],
  targets: [3, 0, -100, 1],
  losses: [0.75483293, 2.7524353, 0, 1.507325],
  dx: [
    -0.064535838, 0.006469229, 0.14811354, 0.14650264, 0.31374732, -0.86993669, 0, 0, 0, -0.51237007, -0.35439798,
    0.50012943
  ]
}
test("soft cap and label smoothing together are torch's", () =>
  onReference(async (queue, scope) => {
    const x = tensorOf(scope, "x", [4, 3], torch.x)
    const w = tensorOf(scope, "w", [5, 3], torch.w)
    const targets = tensorOf(scope, "targets", [4], torch.targets, "i32")
    const options = { softCap: 2, smoothing: 0.1 }
    const { value, gradients } = gradientsOf(queue, [x, w], (g) => linearCrossEntropy(g, x, w, targets, options))
    assertClose(await value, torch.losses, 1e-6, "losses")
    const dy = outputGradient(4)
    assertClose(
      await gradients[0]!,
      torch.dx.map((d, i) => d * dy[Math.floor(i / 3)]!),
      1e-6,
      "dx"
    )
  }))
