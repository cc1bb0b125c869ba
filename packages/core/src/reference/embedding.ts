import type { Kernel } from "../Queue.ts"

/** dw [vocabulary, hidden] (+)= rows of dy added at `ids`, in the order of the tokens. */
export const gatherGradient: Kernel<{ readonly accumulate: boolean }> = {
  name: "gatherGradient",
  outputs: 1,
  fields: ["accumulate"],
  dtypes: ["f32", "act", "i32"],
  check: ([dw, dy, ids]) => (dw!.columns !== dy!.columns || dy!.rows !== ids!.size) && "sizes differ",
  reference: ([dw, dy, ids], { accumulate }) => {
    const n = dy!.length / ids!.length
    if (!accumulate) dw!.fill(0)
    for (let t = 0; t < ids!.length; t++) {
      for (let i = 0; i < n; i++) dw![ids![t]! * n + i]! += dy![t * n + i]!
    }
  }
}
