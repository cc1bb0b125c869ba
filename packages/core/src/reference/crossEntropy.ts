import type { Kernel } from "../Queue.ts"

interface Rows {
  readonly row0: number
  readonly rows: number
  readonly vocab: number
  readonly gradient: boolean
  readonly softCap: number
  readonly smoothing: number
}
const checkCap = (softCap: number) => !(softCap >= 0) && `softCap ${softCap}: wanted 0 or more`

/** z = softCap · tanh(z / softCap) in place (Gemma 2, arXiv:2408.00118 §2). */
export const softCapKernel: Kernel<{ readonly softCap: number }> = {
  name: "softCap",
  outputs: 1,
  inPlace: [0],
  fields: ["softCap"],
  dtypes: ["act"],
  check: (_, { softCap }) => checkCap(softCap) || (softCap === 0 && "softCap 0 would leave nothing"),
  reference: ([z], { softCap }) => {
    for (let i = 0; i < z!.length; i++) z![i] = softCap * Math.tanh(z![i]! / softCap)
  }
}

/**
 * With z the logits, bent by a soft cap c where c > 0, y the target and ε the smoothing (as torch's label_smoothing):
 *
 *   losses[row0 + t] = logsumexp(z) − (1 − ε) z[y] − ε / vocab · Σ z
 *   logits[t] = z, or with `gradient` (softmax(z) − (1 − ε) onehot(y) − ε / vocab) · (1 − (z / c)²)
 *
 * A target below 0 is not learnt: loss and gradient 0. Where a fourth operand has the logits, the second takes the gradient
 * alone, and the logits are lost.
 */
export const crossEntropyRows: Kernel<Rows> = {
  name: "crossEntropyRows",
  outputs: 2,
  inPlace: [1],
  fields: ["row0", "rows", "vocab", "gradient", "softCap", "smoothing"],
  dtypes: ["f32", "act", "i32"],
  check: ([losses, out, targets, { size } = out!], p) =>
    ((losses!.size !== targets!.size || out!.size !== size || size !== p.rows * p.vocab) && "sizes differ") ||
    (p.row0 + p.rows > losses!.size && "rows lie beyond the losses") ||
    checkCap(p.softCap) ||
    (!(p.smoothing >= 0 && p.smoothing < 1) && `smoothing ${p.smoothing}: wanted 0 or more and less than 1`),
  reference: ([losses, out, targets, logits = out], { row0, rows, vocab, gradient, softCap, smoothing }) => {
    for (let t = 0; t < rows; t++) {
      const at = t * vocab
      const y = targets![row0 + t]!
      let top = -Infinity
      let [sum, total] = [0, 0]
      if (softCap > 0) for (let c = at; c < at + vocab; c++) logits![c] = softCap * Math.tanh(logits![c]! / softCap)
      for (let c = 0; c < vocab; c++) top = Math.max(top, logits![at + c]!)
      for (let c = 0; c < vocab; c++) sum += Math.exp(logits![at + c]! - top)
      if (smoothing > 0) for (let c = 0; c < vocab; c++) total += logits![at + c]!
      losses![row0 + t] =
        y < 0 ? 0 : Math.log(sum) + top - (1 - smoothing) * logits![at + y]! - (smoothing / vocab) * total
      if (!gradient) continue
      for (let c = 0; c < vocab; c++) {
        const z = logits![at + c]!
        const dz = Math.exp(z - top) / sum - (c === y ? 1 - smoothing : 0) - smoothing / vocab
        out![at + c] = y < 0 ? 0 : softCap > 0 ? dz * (1 - (z / softCap) ** 2) : dz
      }
    }
  }
}
