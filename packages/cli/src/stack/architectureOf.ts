/** What llama.cpp calls the architecture of a model: its GGUF's word for it; folders that Graft opens are Llamas. */
import { openGguf } from "@graft/gguf"
import { Effect } from "effect"

export const architectureOf = (path: string) =>
  path.endsWith(".gguf")
    ? Effect.scoped(
        Effect.map(openGguf(path), ({ metadata }) => String(metadata.get("general.architecture") ?? "llama"))
      )
    : Effect.succeed("llama")
