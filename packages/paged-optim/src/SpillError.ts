/** The spill folder or a spill file is not to be had. */
import { Schema } from "effect"

export class SpillError extends Schema.TaggedError<SpillError>()("SpillError", {
  path: Schema.String,
  /** `folder`: cannot be written to. `full`: no room. `file`: another error of the file. */
  reason: Schema.Literals(["folder", "full", "file"]),
  message: Schema.String
}) {}
