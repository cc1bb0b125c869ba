import type { Into } from "../Op.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import { addTo } from "./rows.ts"

/**
 * For a backward kernel that makes several gradients in one pass and overwrites them: gives it the destinations, or
 * temporaries where a gradient must be added to an earlier one or is wanted by nobody.
 */
export const writeTogether = (
  g: Graph,
  into: Into,
  inputs: ReadonlyArray<Tensor>,
  run: (outputs: ReadonlyArray<Tensor>) => void
): void => {
  if (!inputs.some((t) => g.needs(t))) return
  const temporaries: Array<readonly [input: Tensor, temporary: Tensor]> = []
  const outputs = inputs.map((t, i) => {
    const d = inputs.indexOf(t) < i ? undefined : into(t)
    if (d !== undefined && !d.accumulate) return d.tensor
    const temporary = g.tensor(t.shape, `d(${t.name}) apart`, t.dtype)
    temporaries.push([t, temporary])
    return temporary
  })
  run(outputs)
  for (const [t, temporary] of temporaries) {
    addTo(g, into(t), temporary)
    g.release(temporary)
  }
}
