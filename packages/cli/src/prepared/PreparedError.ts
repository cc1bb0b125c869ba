/** Why a prepared file cannot be used or made. */
import { Schema } from "effect"

export class PreparedError extends Schema.TaggedError<PreparedError>()("PreparedError", {
  /** The folder of the prepared file. */
  path: Schema.String,
  /** `source`, `format`, `version`: it was made from, or as, another. `foreign`: it holds something else. */
  reason: Schema.Literals(["source", "format", "version", "foreign", "damaged", "busy"]),
  message: Schema.String
}) {}
