/** Numbers with bounds, so that a wrong one is named by its flag before anything is read. */
import * as Flag from "effect/cli/Flag"

const above = (least: number) => (name: string) =>
  Flag.filter(
    Flag.Int(name),
    (n) => n >= least,
    () => `an integer of at least ${least}`
  )
/** 1, 2, … */
export const positiveInt = above(1)
/** 0, 1, … */
export const nonNegativeInt = above(0)

export const positive = (name: string): Flag.Flag<number> =>
  Flag.filter(
    Flag.Finite(name),
    (x) => x > 0,
    () => "a number above 0"
  )
export const nonNegative = (name: string): Flag.Flag<number> =>
  Flag.filter(
    Flag.Finite(name),
    (x) => x >= 0,
    () => "a number of at least 0"
  )
/** [0, 1) */
export const fraction = (name: string): Flag.Flag<number> =>
  Flag.filter(
    Flag.Finite(name),
    (x) => x >= 0 && x < 1,
    () => "a number from 0 to below 1"
  )
/** The random generator's key has 32 bits. */
export const seed: Flag.Flag<number> = Flag.filter(
  Flag.Int("seed"),
  (n) => n >= 0 && n < 2 ** 32,
  () => "an integer from 0 to 4294967295: the random generator takes 32 bits"
)
