/** An error as it is printed: a paragraph for people, an object for machines. */
import { inFlags } from "./inFlags.ts"
import { styled } from "./show/styled.ts"

export interface Problem {
  readonly tag: string
  readonly message: string
}

export const problemOf = (error: unknown): Problem => {
  const tagged = typeof error === "object" && error !== null && "_tag" in error && typeof error._tag === "string"
  if (!(error instanceof Error)) return { tag: tagged ? String(error._tag) : "Error", message: String(error) }
  if (tagged) return { tag: String(error._tag), message: inFlags(error.message) }
  // What no code expected is a bug, and its stack is what a report needs.
  return { tag: "Bug", message: `internal: ${error.stack ?? error.message}` }
}

export const errorText = ({ tag, message }: Problem, json: boolean): string => {
  if (json) return `${JSON.stringify({ error: tag, message })}\n`
  return `${styled(process.stderr).bad("error")}: ${message}\n`
}
