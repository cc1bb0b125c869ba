/**
 * The fused pair for `loraMlp`: x [tokens, in] → down(f(gate(x)) · up(x)), W_gate, W_up [inner, in], W_down [in, inner], with
 * adapters on any subset and f = silu or gelu.
 *
 *   e = gate(x), u = up(x), h = f(e) · u, y = down(h)        dh = dy W_down + …, (de, du) = dh · ∂h/∂(e, u), dx = de W_gate + du W_up + …
 *
 * Kept: x, e, u and the narrow products. Backwards one buffer [tokens, inner] holds dh and then h, which the pass over e and u
 * that makes de and du computes again beside them, for the gradient of down's A; de and du are written over e and u, as
 * unsloth/kernels/fast_lora.py (LoRA_MLP) does.
 * Against the composed ops it saves two or three tensors of that size at the peak, and the passes that sharedInput.ts names
 * for gate and up together. A recomputation of which the output is not read leaves h and the products with W_down and down's A
 * to the backward, which makes h anyway. The composed twin is core's ops/loraMlp.ts.
 */
import { loraMlp, override, Routed } from "@graft/core"
import {
  adapterGradients,
  applyAdapted,
  factorGradients,
  groupsOf,
  hiddenGradients,
  hiddenOf,
  inputGradient
} from "./sharedInput.ts"

export const fusedLoraMlp = override(loraMlp, {
  forward: (g, x, gate, up, down, { kernels }) => {
    const { unread } = g // a recomputation that needs what is kept alone
    const [groups, downGroups] = [groupsOf([gate, up]), groupsOf([down])]
    const hidden = hiddenOf(g, x, groups)
    const inner = [x.rows, gate.weight.outFeatures]
    const [e, u] = [g.tensor(inner, "gate"), g.tensor(inner, "up")]
    applyAdapted(g, e, x, gate.weight, 0, groups, hidden)
    applyAdapted(g, u, x, up.weight, 1, groups, hidden)
    const finish = () => {
      const h = g.tensor(inner, "gated")
      g.run(kernels.forward, [h, e, u], null)
      const downHidden = hiddenOf(g, h, downGroups)
      const out = g.tensor([x.rows, down.weight.outFeatures], "loraMlp")
      applyAdapted(g, out, h, down.weight, 0, downGroups, downHidden)
      g.release(h)
      return { out, downHidden }
    }
    // Backward makes h anyway, and down's narrow product with it.
    const { out, downHidden } = unread ? { ...g.queue.mute(finish), downHidden: undefined } : finish()
    const kept = groups.length > 0 ? x : new Routed(x)
    return { out, saved: { x: kept, e, u, gate, up, down, kernels, groups, hidden, downGroups, downHidden } }
  },
  backward: (g, dy, saved, into) => {
    const { x, e, u, gate, up, down, kernels, groups, hidden, downGroups, downHidden } = saved
    const input = x instanceof Routed ? x.tensor : x
    const h = g.tensor(e.shape, "gradient of gated, then gated")
    const passed = g.needs(input) || groups.length > 0
    const dDown = hiddenGradients(g, dy, downGroups)
    if (passed) {
      inputGradient(g, { tensor: h, accumulate: false }, [[down.weight, dy]], downGroups, dDown)
      if (downGroups.length > 0) g.run(kernels.backwardWithY, [e, u, h, h, e, u], null)
      else g.run(kernels.backward, [e, u, h, e, u], null)
    } else if (downGroups.length > 0) g.run(kernels.forward, [h, e, u], null)
    const narrow = downHidden ?? hiddenOf(g, h, downGroups)
    factorGradients(g, dy, h, downGroups, narrow, dDown, into)
    if (downHidden === undefined) for (const t of narrow) g.release(t)
    for (const t of [...dDown, h]) g.release(t)
    if (!passed) return
    const dHidden = adapterGradients(g, [e, u], input, groups, hidden, into)
    const products = [[gate.weight, e] as const, [up.weight, u] as const]
    inputGradient(g, into(input), products, groups, dHidden)
    for (const t of dHidden) g.release(t)
  }
})
