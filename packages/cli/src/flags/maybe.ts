/**
 * Flags in two shapes that all verbs use. Imports here and in `commands/` name effect's modules one by one: `graft --help`
 * must not wait for the rest of it.
 */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"

/** A flag that may be left out: `undefined` then. */
export const maybe = <A>(flag: Flag.Flag<A>): Flag.Flag<A | undefined> =>
  Flag.map(Flag.optional(flag), Option.getOrUndefined)

/** A switch that is off unless given. */
export const off = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDefault(false), Flag.withoutNegation, Flag.withDescription(description))
