import type { Kernel } from "../Queue.ts"

interface Rows {
  readonly row0: number
  readonly rows: number
  readonly vocab: number
}
/** hits[row0 + t] = 1 if the target of row t has its largest logit (the first of equals), else 0; 0 where it is below 0. */
export const topIsTarget: Kernel<Rows> = {
  name: "topIsTarget",
  outputs: 1,
  inPlace: [0],
  fields: ["row0", "rows", "vocab"],
  dtypes: ["f32", "act", "i32"],
  check: ([hits, logits, targets], p) =>
    (hits!.size !== targets!.size || logits!.size !== p.rows * p.vocab || p.row0 + p.rows > hits!.size) &&
    "sizes differ",
  reference: ([hits, logits, targets], { row0, rows, vocab }) => {
    for (let t = 0; t < rows; t++) {
      let best = 0
      for (let c = 1; c < vocab; c++) if (logits![t * vocab + c]! > logits![t * vocab + best]!) best = c
      hits![row0 + t] = targets![row0 + t] === best ? 1 : 0
    }
  }
}
