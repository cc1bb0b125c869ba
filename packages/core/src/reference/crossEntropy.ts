import type { Kernel } from "../Queue.ts"

interface Rows {
  readonly row0: number
  readonly rows: number
  readonly vocab: number
  readonly gradient: boolean
}
/**
 * losses[row0 + t] = logsumexp(logits[t]) − logits[t][target]; with `gradient`, the logits become softmax − onehot. A target
 * below 0 is not learnt: loss and gradient 0.
 */
export const crossEntropyRows: Kernel<Rows> = {
  name: "crossEntropyRows",
  outputs: 2,
  inPlace: [1],
  fields: ["row0", "rows", "vocab", "gradient"],
  dtypes: ["f32", "act", "i32"],
  check: ([losses, logits, targets], p) =>
    (losses!.size !== targets!.size || logits!.size !== p.rows * p.vocab || p.row0 + p.rows > losses!.size) &&
    "sizes differ",
  reference: ([losses, logits, targets], { row0, rows, vocab, gradient }) => {
    for (let t = 0; t < rows; t++) {
      const at = t * vocab
      const y = targets![row0 + t]!
      let top = -Infinity
      let sum = 0
      for (let c = 0; c < vocab; c++) top = Math.max(top, logits![at + c]!)
      for (let c = 0; c < vocab; c++) sum += Math.exp(logits![at + c]! - top)
      losses![row0 + t] = y < 0 ? 0 : Math.log(sum) + top - logits![at + y]!
      if (!gradient) continue
      for (let c = 0; c < vocab; c++)
        logits![at + c] = y < 0 ? 0 : Math.exp(logits![at + c]! - top) / sum - (c === y ? 1 : 0)
    }
  }
}
