/**
 * The fused pair for `loraQkv`: queries, keys and values of x [tokens, in], each W [out, in] with adapters on any subset.
 *
 *   y_i = x W_iᵀ + s · h_i B_iᵀ        dx = Σ dy_i W_i + dh A        (A, h, dh of the three stacked: sharedInput.ts)
 *
 * Against three loraLinear it saves two of three readings of x for x·Aᵀ and for dA; the adapters' shares are tails of the
 * products with W, dx's of the last of them. It keeps h [3 · rank, tokens]. unsloth/kernels/fast_lora.py
 * (LoRA_QKV) is the pair's model; it computes h again. The composed twin is core's ops/loraQkv.ts.
 *
 * Where nobody wants dx (the first layer with an adapter), a linear without an adapter goes by itself: the tape then knows
 * its output for a constant, and rotation and attention need not make a gradient of it.
 */
import {
  type AdaptedWeight,
  definePrimitive,
  type Graph,
  linear,
  loraQkv,
  type Override,
  Routed,
  type Tensor
} from "@graft/core"
import { adapterGradients, applyAdapted, groupsOf, hiddenOf, inputGradient } from "./sharedInput.ts"

const IMPLEMENTATION = "fused"

const together = definePrimitive(`${loraQkv.opName} (${IMPLEMENTATION})`, {
  forward: (g, x: Tensor, first: AdaptedWeight, ...others: ReadonlyArray<AdaptedWeight>) => {
    const linears = [first, ...others]
    const groups = groupsOf(linears)
    const hidden = hiddenOf(g, x, groups)
    const make = ({ weight }: AdaptedWeight, i: number) => {
      const out = g.tensor([x.rows, weight.outFeatures], "loraQkv")
      applyAdapted(g, out, x, weight, i, groups, hidden)
      return out
    }
    const out = [make(first, 0), ...others.map((one, i) => make(one, i + 1))] as const
    return { out, saved: { x: groups.length > 0 ? x : new Routed(x), linears, groups, hidden } }
  },
  backward: (g, dys: ReadonlyArray<Tensor | undefined>, { x, linears, groups, hidden }, into) => {
    const input = x instanceof Routed ? x.tensor : x
    const dhs = adapterGradients(g, dys, input, groups, hidden, into)
    const products = linears.flatMap(({ weight }, i) => (dys[i] === undefined ? [] : [[weight, dys[i]] as const]))
    inputGradient(g, into(input), products, groups, dhs)
    for (const dh of dhs) g.release(dh)
  }
})

const body = (g: Graph, x: Tensor, ...linears: readonly [AdaptedWeight, AdaptedWeight, AdaptedWeight]) => {
  const graded = linears.filter(({ segments }) => g.needs(x) || segments.length > 0)
  const joined = graded.length > 0 ? graded : linears
  const [first = linears[0], ...others] = joined
  const outs = together(g, x, first, ...others)
  const outOf = (one: AdaptedWeight): Tensor => outs[joined.indexOf(one)] ?? linear(g, x, one.weight)
  return [outOf(linears[0]), outOf(linears[1]), outOf(linears[2])] as const
}

/** Not by `override`: the primitive takes fewer linears than the op where some go by themselves. */
export const fusedLoraQkv: Override = {
  op: loraQkv.opName,
  implementation: IMPLEMENTATION,
  body: body satisfies (...args: Parameters<typeof loraQkv>) => ReturnType<typeof loraQkv>
}
