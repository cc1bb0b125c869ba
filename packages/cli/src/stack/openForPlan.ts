/**
 * The model that a flag names, and what would have to be fetched. A plan takes shapes alone: a config.json, a name of one that
 * is known, a repository of the Hub.
 */
import { readFileSync } from "node:fs"
import { ConfigError, type OpenedModel, openShapes } from "@graft/llama-loader"
import { fileError, fromThrowing } from "@graft/safetensors"
import { Effect } from "effect"
import { knownShapes } from "../synth/knownShapes.ts"
import { type Described, openNamedShapes } from "./openNamed.ts"

export const openForPlan = (path: string) =>
  Effect.suspend(() => {
    const known = knownShapes[path]
    if (known !== undefined) return shapes(path, known)
    if (!path.endsWith(".json")) return openNamedShapes(path)
    return Effect.flatMap(
      Effect.try({
        try: (): unknown => JSON.parse(readFileSync(path, "utf8")),
        catch: (cause) => fileError(path, "read", cause)
      }),
      (raw) => shapes(path, raw)
    )
  })

const shapes = (path: string, raw: unknown) =>
  Effect.map(
    fromThrowing<OpenedModel, ConfigError>([ConfigError], () => openShapes(path, raw)),
    (model): Described => ({ model, toFetch: undefined })
  )
