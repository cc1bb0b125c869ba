/** What goes wrong in the command itself; everything else is an error of the package where it happens. */
import * as Schema from "effect/Schema"

/** Flags or files that do not go together: says what, where, got, wanted, and what to do. */
export class InvalidInput extends Schema.TaggedError<InvalidInput>()("InvalidInput", { message: Schema.String }) {}

/** The user stopped it. No failure, but no success either: the exit code is 130 (128 + SIGINT), or 143 for SIGTERM. */
export class Stopped extends Schema.TaggedError<Stopped>()("Stopped", { message: Schema.String }) {}

/** Two recorded runs differ. Not an error of anything, but the answer is no: the exit code is 1. */
export class RunsPart extends Schema.TaggedError<RunsPart>()("RunsPart", { message: Schema.String }) {}
