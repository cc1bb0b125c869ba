/** The model that a flag names. A plan takes shapes alone: a config.json, or a name of one that is known. */
import { readFileSync } from "node:fs"
import { ConfigError, type OpenedModel, openShapes } from "@graft/llama-loader"
import { fileError, fromThrowing } from "@graft/safetensors"
import { Effect } from "effect"
import { knownShapes } from "../synth/knownShapes.ts"
import { openNamed } from "./openNamed.ts"

export const openForPlan = (path: string) =>
  Effect.suspend(() => {
    const known = knownShapes[path]
    if (known !== undefined) return shapes(path, known)
    if (!path.endsWith(".json")) return openNamed(path)
    return Effect.flatMap(
      Effect.try({
        try: (): unknown => JSON.parse(readFileSync(path, "utf8")),
        catch: (cause) => fileError(path, "read", cause)
      }),
      (raw) => shapes(path, raw)
    )
  })

const shapes = (path: string, raw: unknown) =>
  fromThrowing<OpenedModel, ConfigError>([ConfigError], () => openShapes(path, raw))
