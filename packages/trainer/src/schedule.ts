/** The learning rate of an optimiser step, as transformers' get_scheduler has it (optimization.py). */
export type ScheduleKind = "constant" | "linear" | "cosine"
export interface Schedule {
  readonly kind: ScheduleKind
  readonly learningRate: number
  /** Optimiser steps of linear rise from 0. */
  readonly warmupSteps: number
  readonly steps: number
}
/** `step` is 1-based: the first step of a run without warm-up has the full rate. */
export const learningRateAt = ({ kind, learningRate, warmupSteps, steps }: Schedule, step: number): number => {
  const done = step - 1
  if (done < warmupSteps) return (learningRate * done) / Math.max(1, warmupSteps)
  const progress = (done - warmupSteps) / Math.max(1, steps - warmupSteps)
  if (kind === "linear") return learningRate * Math.max(0, 1 - progress)
  if (kind === "cosine") return learningRate * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)))
  return learningRate
}
