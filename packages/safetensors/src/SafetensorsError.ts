/** A file that claims to be safetensors and is not, or is damaged. */
import { Schema } from "effect"

export class SafetensorsError extends Schema.TaggedError<SafetensorsError>()("SafetensorsError", {
  message: Schema.String,
  path: Schema.String
}) {}
