/**
 * Runs synchronous code whose expected failures are thrown as typed errors: those become the effect's failure, and
 * anything else stays a defect, so that a bug of ours is not mistaken for a bad file.
 */
import { Effect } from "effect"

export const fromThrowing = <A, E extends Error>(
  expected: ReadonlyArray<abstract new (...args: never) => E>,
  evaluate: () => A
): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(evaluate())
    } catch (cause) {
      const failure = expected.find((kind) => cause instanceof kind)
      return failure === undefined ? Effect.die(cause) : Effect.fail(cause as E) // an instance of one of `expected`
    }
  })
