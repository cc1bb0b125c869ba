/** A GGUF that is damaged, lies about itself, or holds what this loader does not read. */
import { Schema } from "effect"

export class GgufError extends Schema.TaggedError<GgufError>()("GgufError", {
  message: Schema.String,
  path: Schema.String
}) {}
