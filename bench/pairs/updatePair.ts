/**
 * The optimiser's step beside its parts: fused, the adapters lie in one arena, whose squares are summed and whose update reads
 * the clip coefficient; composed, every tensor is summed, its gradient scaled where it lies, and updated on its own.
 */
import { adamW, addScaled, clipControl, fill, scaleRows, sumSquares, type Tensor, type TrainedRange } from "@graft/core"
import { INPUTS, type PairCase, type Side, sides } from "./PairCase.ts"

/** A and B of rank 16 on all linears of a model of 30 layers, 576 wide. */
const sizes = Array.from({ length: 30 }, () => [
  ...[576, 576, 576, 192, 576, 192, 576, 576],
  ...[576, 1536, 576, 1536, 1536, 576]
])
  .flat()
  .map((width) => 16 * width)
const total = sizes.reduce((a, b) => a + b, 0)
const [RATE, MAX_NORM, TOKENS] = [1e-3, 1, 100]
const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, groupFactors: {} }
const asRow = (t: Tensor): Tensor => t.range(0, [1, t.size], t.name)
const whole = { width: total, rows: 1, outRow: 0, xRow: 0, scale: 1, accumulate: false }

export const updatePair: PairCase = {
  pair: "clip + AdamW",
  shape: `135M, ${sizes.length} adapters, ${total} parameters`,
  bytes: () => 32 * total,
  prepare: ({ queue, scope }) => {
    const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0))
    const given = scope.tensor([total], "gradients as they come")
    const tokens = scope.tensor([1], "tokens")
    queue.upload(given, () => Float32Array.from({ length: total }, (_, i) => Math.sin(12.9898 * i)))
    queue.upload(tokens, () => [TOKENS])
    const stateOf = (side: Side) => {
      const [flat, gradients] = [scope.tensor([total], "w"), scope.tensor([total], "dw")]
      queue.upload(flat, () => Float32Array.from({ length: total }, (_, i) => Math.cos(7.233 * i)))
      const rangeOf = (start: number, length: number): TrainedRange => ({
        group: "all",
        decays: true,
        flat: flat.range(start, [length], "w"),
        gradients: gradients.range(start, [length], "dw"),
        parameters: [{ path: "w", start: 0, length }]
      })
      const ranges = side === "fused" ? [rangeOf(0, total)] : sizes.map((n, i) => rangeOf(starts[i]!, n))
      const [control, after] = [scope.tensor([4], "control"), scope.tensor([4], "control of what is clipped")]
      const partials = scope.tensor([ranges.length], "partials")
      for (const t of [control, after, partials]) queue.enqueue(fill, [t], { value: 0 })
      return { flat, gradients, ranges, control, after, partials, update: adamW(adam)(queue, scope, ranges).update }
    }
    const states = { composed: stateOf("composed"), fused: stateOf("fused") }
    let steps = 0
    return (side, reading) => {
      const { flat, gradients, ranges, control, after, partials, update } = states[side]
      if (side === sides[0]) steps++
      queue.origin = INPUTS
      queue.enqueue(addScaled, [asRow(gradients), asRow(given)], whole)
      queue.upload(after, () => [1, 1, steps, 0])
      queue.origin = `clip + AdamW (${side})`
      for (const [slot, range] of ranges.entries()) queue.enqueue(sumSquares, [partials, range.gradients], { slot })
      queue.enqueue(clipControl, [control, partials, tokens], { maxNorm: MAX_NORM })
      if (side === "composed") {
        const coefficient = control.range(0, [1], "coefficient")
        for (const { gradients: own } of ranges) {
          const row = asRow(own)
          queue.enqueue(scaleRows, [row, row, coefficient], { accumulate: false })
        }
      }
      update(side === "composed" ? after : control, RATE)
      return { values: reading ? [queue.read(flat)] : [], gradients: [] }
    }
  }
}
