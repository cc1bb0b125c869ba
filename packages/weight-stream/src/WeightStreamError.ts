/** Weights cannot stream: the budget is too small, or they do not lie in a file as they are used. */
import { Schema } from "effect"

export class WeightStreamError extends Schema.TaggedError<WeightStreamError>()("WeightStreamError", {
  /** `budget`: too small. `source`: not in a file as they are used. `file`: cannot be read. */
  reason: Schema.Literals(["budget", "source", "file"]),
  message: Schema.String,
  /** The smallest budget that would do, in bytes. */
  smallest: Schema.optionalKey(Schema.Number)
}) {}
