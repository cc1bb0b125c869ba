/** How far a distribution over the vocabulary is from logits: KL(p ‖ softmax(logits)) in nats, and whether the best token agrees. */
export interface Difference {
  readonly divergence: number
  readonly sameBest: boolean
}

/** p [vocabulary] by token; what is left out has probability 0. */
export const differenceOf = (p: ReadonlyMap<number, number>, logits: Float32Array): Difference => {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
  const highest = logits[best]!
  let sum = 0
  for (const value of logits) sum += Math.exp(value - highest)
  const normalizer = highest + Math.log(sum)
  let divergence = 0
  let top = -1
  let most = -1
  for (const [token, probability] of p) {
    if (probability > most) [top, most] = [token, probability]
    if (probability > 0) divergence += probability * (Math.log(probability) - (logits[token]! - normalizer))
  }
  return { divergence, sameBest: top === best }
}

/** The distribution of logits. */
export const probabilitiesOf = (logits: Float32Array): ReadonlyMap<number, number> => {
  const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = Float64Array.from(logits, (value) => Math.exp(value - highest))
  const sum = powers.reduce((a, b) => a + b, 0)
  return new Map([...powers].map((value, token) => [token, value / sum]))
}
