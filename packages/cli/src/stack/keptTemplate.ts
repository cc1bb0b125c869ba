/**
 * The chat template that a run was trained by, kept as chat_template.jinja beside its adapter (the name that transformers
 * looks for): whoever generates with the adapter then speaks as it was taught.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { replaceFile } from "@graft/safetensors"
import type { ChatTemplate } from "@graft/sft"
import { Effect } from "effect"

const FILE = "chat_template.jinja"

export const keepTemplate = (out: string, template: ChatTemplate | undefined) =>
  template?.source === undefined
    ? Effect.void
    : replaceFile(join(out, FILE), [new TextEncoder().encode(template.source)])

/** Of an adapter's folder. */
export const keptTemplate = (adapter: string | undefined): string | undefined => {
  const path = adapter === undefined ? undefined : join(adapter, FILE)
  return path !== undefined && existsSync(path) ? path : undefined
}
