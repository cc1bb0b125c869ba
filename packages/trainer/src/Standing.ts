/**
 * Where one adapter of a run stands besides its numbers on the device: its best evaluation, how long it waits for a better
 * one, what was skipped, and whether it is over. It is part of a checkpoint.
 */
import { Schema } from "effect"
import type { Session } from "./Session.ts"
import type { TrainerOptions } from "./TrainerOptions.ts"

const Kept = Schema.Struct({
  best: Schema.NullOr(Schema.Struct({ step: Schema.Int, loss: Schema.Finite })),
  /** Evaluations since the best. */
  waited: Schema.Int,
  /** The step of the last evaluation that counted. */
  evaluated: Schema.Int,
  /** Steps that were not applied, and how many of them are the last ones. */
  skipped: Schema.Int,
  streak: Schema.Int,
  /** After which step it ended, and why, where it did before the run. */
  ended: Schema.NullOr(Schema.Struct({ step: Schema.Int, why: Schema.String }))
})
type Kept = typeof Kept.Type
type Writable<T> = { -readonly [K in keyof T]: T[K] }

export interface Standing extends Writable<Kept> {
  /** Of a sweep; empty where one adapter is trained. */
  readonly variant: { readonly variant?: string }
  readonly session: Session
  readonly learningRate: number
}
export const freshStanding = (session: Session, learningRate: number, variant: Standing["variant"]): Standing => ({
  variant,
  session,
  learningRate,
  best: null,
  waited: 0,
  evaluated: 0,
  skipped: 0,
  streak: 0,
  ended: null
})

/** A file or folder of this adapter among those of a sweep. */
export const within = ({ variant: { variant } }: Standing, name: string): string =>
  variant === undefined ? name : `${variant}/${name}`

const Progress = Schema.Struct({
  /** What the next number is drawn from: the generator has no state but this. */
  random: Schema.Struct({ generator: Schema.String, seed: Schema.Int, step: Schema.Int }),
  /** The step within the data's epoch, from 0, whose rows come next. */
  data: Schema.Struct({ epoch: Schema.Int, step: Schema.Int }),
  /** Rates of the next step by adapter. */
  learningRates: Schema.Array(Schema.Finite),
  standings: Schema.Array(Kept)
})
export type Progress = typeof Progress.Type
export const decodeProgress = Schema.decodeUnknownEffect(Progress)

export const keptOf = ({ best, waited, evaluated, skipped, streak, ended }: Standing): Kept => ({
  best,
  waited,
  evaluated,
  skipped,
  streak,
  ended
})

/** Takes an evaluation into account; true if it is the best so far. */
export const countEvaluation = (
  standing: Standing,
  step: number,
  loss: number,
  { patience, minDelta }: Pick<TrainerOptions, "patience" | "minDelta">
): boolean => {
  standing.evaluated = step
  if (standing.best === null || loss < standing.best.loss - minDelta) {
    standing.best = { step, loss }
    standing.waited = 0
    return true
  }
  standing.waited++
  if (patience > 0 && standing.waited >= patience) {
    const { best, waited } = standing
    const why = `the held-out loss has not been lower than ${best.loss.toFixed(4)} of step ${best.step} for ${waited} evaluations`
    standing.ended = { step, why }
  }
  return false
}
