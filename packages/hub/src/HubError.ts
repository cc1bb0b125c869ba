/** Why a file of the Hub cannot be had, and what to do. */
import { Schema } from "effect"

export class HubError extends Schema.TaggedError<HubError>()("HubError", {
  message: Schema.String,
  /** `org/name`, and the file in it where one was asked for. */
  what: Schema.String,
  reason: Schema.Literals([
    "not-found",
    "unauthorized",
    "gated",
    "rate-limited",
    "server",
    "network",
    "offline",
    "damaged",
    "disk"
  ])
}) {}
