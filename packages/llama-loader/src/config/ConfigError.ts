/** A model's description that does not hold together, or is of a model that this loader does not build. */
import { Schema } from "effect"

export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", {
  message: Schema.String,
  path: Schema.String
}) {}

export class UnknownArchitecture extends Schema.TaggedError<UnknownArchitecture>()("UnknownArchitecture", {
  path: Schema.String,
  architecture: Schema.String,
  known: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `${this.path} is a model of the architecture ${this.architecture}; known are ${this.known.join(", ")}. Take a model of one of these.`
  }
}
