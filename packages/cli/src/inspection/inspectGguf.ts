import { type GgufValue, openGguf } from "@graft/gguf"
import { openModel } from "@graft/llama-loader"
import { Effect } from "effect"
import type { Inspection } from "./Inspection.ts"

const LONGEST = 80

const brief = (value: GgufValue): string | number | boolean => {
  if (typeof value === "bigint") return String(value)
  if (typeof value === "string") {
    const line = value.replace(/\s+/g, " ")
    return line.length > LONGEST ? `${line.slice(0, LONGEST)}… (${value.length} characters)` : line
  }
  return typeof value === "object" ? `list of ${value.length}` : value
}

/** Its head is read whatever model it holds; whether Graft would load it is said besides. */
export const inspectGguf = (path: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const file = yield* openGguf(path)
      const model = yield* Effect.result(openModel(path))
      return {
        kind: "gguf",
        path,
        facts: [
          ...(model._tag === "Success" ? [["model", model.success.description] as const] : []),
          ["version", file.version],
          ...[...file.metadata].map(([key, value]) => [key, brief(value)] as const)
        ],
        notes: model._tag === "Success" ? model.success.notes : [`Graft does not load it: ${model.failure.message}`],
        tensors: [...file.tensors.values()].map(({ name, type, shape, bytes }) => ({
          name,
          format: type.name,
          shape,
          bytes
        }))
      } satisfies Inspection
    })
  )
