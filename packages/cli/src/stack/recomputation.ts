/**
 * In which order a step gives up what it holds. Of what a layer holds, the outputs of its linears cost the same to make
 * again for each byte: 2 · in operations a number, and `in` is the model's width for all of them (but for down_proj, which
 * is never made again). Attention's output alone differs: 2 · keys operations a number, half of the square being masked. So
 * it goes first where rows are short and last where they are long, and a whole layer stands for all the rest: two numbers
 * say as much as a choice of single ops (docs/memory.md).
 */
import type { Way } from "./Way.ts"

/** `checkpointing` and `attentionAgain` of a way, both said. */
export interface Recomputed extends Pick<Way, "checkpointing" | "attentionAgain"> {
  readonly checkpointing: number
  readonly attentionAgain: number
}

/** Places 0 (nothing is recomputed) to 2 · layers (all is), each holding less than the one before. */
export interface Recomputation {
  readonly last: number
  readonly at: (place: number) => Recomputed
}
export const recomputation = (layers: number, attentionFirst: boolean): Recomputation => ({
  last: 2 * layers,
  at: (place) => {
    const first = Math.min(place, layers)
    const then = place - first
    return attentionFirst
      ? { checkpointing: then, attentionAgain: first }
      : { checkpointing: first, attentionAgain: then }
  }
})
