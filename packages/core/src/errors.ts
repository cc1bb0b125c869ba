/** The failures that a run reports. Each says what, where, what it got and wanted, and what to do. */
import { Schema } from "effect"
import { DeviceFault } from "./Queue.ts"

/** Options of a part that do not decode: every problem at once, the nearest name for a misspelt key. */
export class BadOptions extends Schema.TaggedError<BadOptions>()("BadOptions", {
  part: Schema.String,
  problems: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `${this.part}: ${this.problems.join("; ")}`
  }
}
const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
const said = { message: Schema.String }
/** Parts that cannot work together, found before any weight is read. */
export class BadStack extends Schema.TaggedError<BadStack>()("BadStack", said) {}
/** Reading the model or building the session went wrong. */
export class LoadError extends Schema.TaggedError<LoadError>()("LoadError", said) {
  static readonly from = (cause: unknown): LoadError => new LoadError({ message: messageOf(cause) })
}
/** An op failed at run time for an outside reason. */
export class DeviceError extends Schema.TaggedError<DeviceError>()("DeviceError", { op: Schema.String, ...said }) {
  static readonly from = (cause: unknown): DeviceError =>
    new DeviceError({ op: cause instanceof DeviceFault ? cause.op : "queue", message: messageOf(cause) })
}
export class CheckpointError extends Schema.TaggedError<CheckpointError>()("CheckpointError", {
  path: Schema.String,
  ...said
}) {}
export class UnusedParts extends Schema.TaggedError<UnusedParts>()("UnusedParts", {
  unused: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `provided but not used: ${this.unused.join(", ")}; leave it out, or provide it below the part that needs it`
  }
}
/** The device cannot give what the plan needs. */
export class OutOfMemory extends Schema.TaggedError<OutOfMemory>()("OutOfMemory", {
  device: Schema.String,
  wantedBytes: Schema.Number,
  availableBytes: Schema.Number
}) {
  override get message(): string {
    const mb = (n: number) => `${Math.ceil(n / 1e6)} MB`
    return `the plan needs ${mb(this.wantedBytes)} on ${this.device}, which has ${mb(this.availableBytes)}; lower the batch size or the length, or turn checkpointing on`
  }
}
/** A step whose loss or gradient is not finite, or above `limit`: nothing of it was applied. */
export class NotFinite extends Schema.TaggedError<NotFinite>()("NotFinite", {
  step: Schema.Number,
  loss: Schema.Number,
  gradNorm: Schema.Number,
  /** The rows of the step's batches, as their data set names them. */
  rows: Schema.Array(Schema.String),
  limit: Schema.optionalKey(Schema.Number),
  /** The last good step, and where it is kept. */
  saved: Schema.optionalKey(Schema.Struct({ step: Schema.Number, path: Schema.String })),
  variant: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    const { step, loss, gradNorm, rows, limit, saved, variant } = this
    const spike = limit === undefined ? "" : `, above ${limit.toPrecision(4)}, the limit of a spike`
    const kept = saved === undefined ? "" : `; ${saved.path} holds the adapter as of step ${saved.step}`
    return `${variant === undefined ? "" : `${variant}: `}step ${step}: loss ${loss}${spike}, gradient norm ${gradNorm}, in ${rows.join(", ")}; the update was not applied${kept}. Lower the learning rate, or look at these rows`
  }
}
