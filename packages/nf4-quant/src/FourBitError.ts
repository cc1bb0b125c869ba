/** A weight that cannot be taken or made in 4 bits: which one, and why. */
import { Schema } from "effect"

export class FourBitError extends Schema.TaggedError<FourBitError>()("FourBitError", {
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}
