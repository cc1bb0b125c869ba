/** Loss and accuracy from logits: −log softmax at the target, and whether the target is the most likely token. */
export interface Score {
  /** Σ −log p(target), in nats. */
  readonly loss: number
  readonly correct: number
  readonly tokens: number
}
export const noScore: Score = { loss: 0, correct: 0, tokens: 0 }

/** logits [targets.length, vocabulary]; targets below 0 do not count. */
export const scoreRows = (sum: Score, logits: Float32Array, targets: ArrayLike<number>): Score => {
  const vocabulary = logits.length / targets.length
  let { loss, correct, tokens } = sum
  for (let row = 0; row < targets.length; row++) {
    const target = targets[row]!
    if (target < 0) continue
    const first = row * vocabulary
    let top = first
    for (let i = first + 1; i < first + vocabulary; i++) if (logits[i]! > logits[top]!) top = i
    const most = logits[top]!
    let total = 0
    for (let i = first; i < first + vocabulary; i++) total += Math.exp(logits[i]! - most)
    loss += Math.log(total) + most - logits[first + target]!
    if (top === first + target) correct++
    tokens++
  }
  return { loss, correct, tokens }
}
