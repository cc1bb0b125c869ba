/** A way to run a step: what may change without changing the step. */
import { bytes } from "../show/quantities.ts"

export interface Way {
  /** All layers, or so many from the first on. */
  readonly checkpointing: boolean | number
  /** Layers from the first on whose attention is computed again, be the rest of them or not; left out: as many. */
  readonly attentionAgain?: number | undefined
  /** A micro-batch is cut into so many. */
  readonly parts: number
  readonly optimizer: string
  readonly optimizerMemory: number | undefined
  /** Frozen weights stream from their file under so many bytes. */
  readonly weightsMemory?: number | undefined
}

export const wayText = (way: Way, layers: number): string => {
  const { parts, optimizer, optimizerMemory, weightsMemory } = way
  const cut = parts === 1 ? "" : `, micro-batches cut in ${parts}`
  const memory = optimizerMemory === undefined ? "" : ` under ${bytes(optimizerMemory)}`
  const streamed = weightsMemory === undefined ? "" : `, weights streamed under ${bytes(weightsMemory)}`
  return `${recomputedText(way, layers)}${cut}, ${optimizer}${memory}${streamed}`
}

const recomputedText = ({ checkpointing, attentionAgain }: Way, layers: number): string => {
  const n = checkpointing === true ? layers : Math.min(layers, Number(checkpointing))
  const attended = attentionAgain ?? n
  const some = (count: number) => (count >= layers ? "all" : `${count} of ${layers}`)
  if (n === 0) return attended === 0 ? "nothing recomputed" : `attention of ${some(attended)} layers recomputed`
  const whole = `${some(n)} layers recomputed`
  if (attended > n) return `${whole}, attention of ${attended >= layers ? "all" : attended}`
  return attended < n ? `${whole}, attention of ${attended === 0 ? "none" : attended}` : whole
}
