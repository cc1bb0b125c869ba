/**
 * checkpoint(body): keep only what the body reads from outside, run it again when its gradient arrives (Chen et al. 2016,
 * arXiv:1604.06174). The body's trained tensors need not be listed: the first run observes them. The same observation says
 * which calls of the second run nobody reads (the last ops of a block, mostly): those are replayed for their shapes only.
 */
import { type Call, Graph } from "./Tape.ts"
import type { Tensor } from "./Tensor.ts"

export const checkpoint = (g: Graph, x: Tensor, body: (g: Graph, x: Tensor) => Tensor): Tensor => {
  const calls: Array<Call> = []
  const { overrides, activations } = g
  using probe = new Graph(g.queue, { overrides, activations, probe: { outer: g, observe: (c) => calls.push(c) } })
  const out = g.forward(() => probe.scoped(() => body(probe, x)))
  if (out !== x) g.adopt(out, out.scope)
  const made = new Set(calls.flatMap((c) => c.outs.filter((t) => !c.inputs.includes(t)))) // else it was given
  const outside = [...new Set(calls.flatMap((c) => c.inputs))].filter((t) => !made.has(t))
  const leaves = outside.filter((t) => g.needs(t))
  const dead = deadCalls(calls)
  g.commit(
    { name: "checkpoint", inputs: outside, outs: [out], saved: outside, tracked: leaves.length > 0 },
    ([dy], into) => {
      using replay = new Graph(g.queue, { overrides, activations, dead })
      replay.watch(...leaves)
      replay.backward(body(replay, x), dy!, into) // leaves write straight into the outer graph's destinations
    }
  )
  return out
}

/**
 * Backwards liveness: a call must run again if a backward reads something it makes, or if a call that must run reads its
 * output. "output": what it makes on the way is read, its output is not.
 */
export const deadCalls = (calls: ReadonlyArray<Call>): ReadonlyMap<number, "whole" | "output"> => {
  const read = new Set(calls.flatMap((c) => (c.tracked ? c.saved : [])))
  const dead = new Map<number, "whole" | "output">()
  for (let i = calls.length - 1; i >= 0; i--) {
    const { inputs, outs, saved, tracked } = calls[i]!
    const makesSaved = tracked && saved.some((t) => !outs.includes(t) && !inputs.includes(t))
    const outRead = outs.some((t) => read.has(t))
    if (outRead || makesSaved) for (const t of inputs) read.add(t)
    if (!outRead) dead.set(i, makesSaved ? "output" : "whole")
  }
  return dead
}
