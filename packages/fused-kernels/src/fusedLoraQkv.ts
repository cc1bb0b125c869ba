/**
 * The fused pair for `loraQkv`: queries, keys and values of x [tokens, in], each W [out, in] with adapters on any subset.
 *
 *   y_i = x W_iᵀ + s · h_i B_iᵀ        dx = Σ dy_i W_i + dh A        (A, h, dh of the three stacked: sharedInput.ts)
 *
 * Against three loraLinear it saves two of three readings of x for x·Aᵀ and for dA, and two of three passes over dx for the
 * adapters' share; dx is one output from the first product on. It keeps h [3 · rank, tokens]. unsloth/kernels/fast_lora.py
 * (LoRA_QKV) is the pair's model; it computes h again. The composed twin is core's ops/loraQkv.ts.
 */
import { loraQkv, override, Routed } from "@graft/core"
import { adapterGradients, addAdapters, addToInput, groupsOf, hiddenOf } from "./sharedInput.ts"

export const fusedLoraQkv = override(loraQkv, {
  forward: (g, x, ...linears) => {
    const groups = groupsOf(linears)
    const hidden = hiddenOf(g, x, groups)
    const make = (i: 0 | 1 | 2) => {
      const out = g.tensor([x.rows, linears[i].weight.outFeatures], "loraQkv")
      linears[i].weight.apply(out, x)
      return out
    }
    const out = [make(0), make(1), make(2)] as const
    addAdapters(g, out, groups, hidden)
    return { out, saved: { x: groups.length > 0 ? x : new Routed(x), linears, groups, hidden } }
  },
  backward: (g, dys, { x, linears, groups, hidden }, into) => {
    const input = x instanceof Routed ? x.tensor : x
    const dx = into(input)
    let { accumulate = false } = dx ?? {}
    for (const [i, dy] of dys.entries()) {
      if (dy === undefined || dx === undefined) continue
      linears[i]!.weight.applyTransposed(dx.tensor, dy, { accumulate })
      accumulate = true
    }
    addToInput(g, dx?.tensor, groups, adapterGradients(g, dys, input, groups, hidden, into))
  }
})
