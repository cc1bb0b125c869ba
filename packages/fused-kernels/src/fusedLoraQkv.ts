/**
 * The fused pair for `loraQkv`: queries, keys and values of x [tokens, in], each W [out, in] with adapters on any subset.
 *
 *   y_i = x W_iᵀ + s · h_i B_iᵀ        dx = Σ dy_i W_i + dh A        (A, h, dh of the three stacked: sharedInput.ts)
 *
 * Against three loraLinear it saves two of three readings of x for x·Aᵀ and for dA; the adapters' shares are tails of the
 * products with W, dx's of the last of them. It keeps h [3 · rank, tokens]. unsloth/kernels/fast_lora.py
 * (LoRA_QKV) is the pair's model; it computes h again. The composed twin is core's ops/loraQkv.ts.
 */
import { loraQkv, override, Routed } from "@graft/core"
import { adapterGradients, applyAdapted, groupsOf, hiddenOf, inputGradient } from "./sharedInput.ts"

export const fusedLoraQkv = override(loraQkv, {
  forward: (g, x, ...linears) => {
    const groups = groupsOf(linears)
    const hidden = hiddenOf(g, x, groups)
    const make = (i: 0 | 1 | 2) => {
      const out = g.tensor([x.rows, linears[i].weight.outFeatures], "loraQkv")
      applyAdapted(g, out, x, linears[i].weight, i, groups, hidden)
      return out
    }
    const out = [make(0), make(1), make(2)] as const
    return { out, saved: { x: groups.length > 0 ? x : new Routed(x), linears, groups, hidden } }
  },
  backward: (g, dys, { x, linears, groups, hidden }, into) => {
    const input = x instanceof Routed ? x.tensor : x
    const dhs = adapterGradients(g, dys, input, groups, hidden, into)
    const products = linears.flatMap(({ weight }, i) => (dys[i] === undefined ? [] : [[weight, dys[i]] as const]))
    inputGradient(g, into(input), products, groups, dhs)
  }
})
