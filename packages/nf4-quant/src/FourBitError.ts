/** A weight that cannot be taken or made in 4 bits: which one, and why. */
import type { SourceTensor } from "@graft/core"
import { Schema } from "effect"

export class FourBitError extends Schema.TaggedError<FourBitError>()("FourBitError", {
  path: Schema.String,
  problem: Schema.String,
  /** The file that it lies in. */
  file: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `${this.path}${this.file === undefined ? "" : ` in ${this.file}`}: ${this.problem}`
  }
}

/** Of a tensor as a file has it. */
export const errorIn = (tensor: Pick<SourceTensor, "name" | "file">, problem: string): FourBitError =>
  new FourBitError({
    path: tensor.name,
    problem,
    ...(tensor.file === undefined ? {} : { file: tensor.file.path })
  })
