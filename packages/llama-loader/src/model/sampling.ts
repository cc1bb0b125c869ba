/** Choosing the next token from logits [vocabulary]: temperature, then top-k, then top-p (the order of transformers' generate). */
import { philox, toUnit } from "@graft/core"

export interface Sampling {
  /** 0: the most likely token. */
  readonly temperature: number
  /** 0: all. */
  readonly topK: number
  /** 1: all. The smallest set of tokens whose probability is at least this. */
  readonly topP: number
  readonly seed: number
}
export const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, seed: 0 }

export const argmax = (logits: ArrayLike<number>): number => {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
  return best
}

const lanes = new Uint32Array(4)
/** `position` keys the draw, so that the same seed gives the same text whatever was batched together. */
export const sample = (logits: Float32Array, { temperature, topK, topP, seed }: Sampling, position: number): number => {
  if (temperature === 0 || topK === 1) return argmax(logits)
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b)
  const kept = topK > 0 ? order.slice(0, topK) : order
  const top = logits[kept[0]!]!
  const weights = kept.map((id) => Math.exp((logits[id]! - top) / temperature))
  const total = weights.reduce((a, b) => a + b, 0)
  let reach = 0
  let count = 0
  while (count < kept.length && (count === 0 || reach < topP * total)) reach += weights[count++]!
  philox(lanes, seed, 0x5a3b1e, position, 0, 0, 0)
  let left = toUnit(lanes[0]!) * reach
  for (let i = 0; i < count; i++) {
    left -= weights[i]!
    if (left < 0) return kept[i]!
  }
  return kept[count - 1]!
}
