import { openSafetensors, openSharded, type SafetensorsFile } from "@graft/safetensors"
import { Effect } from "effect"
import type { Inspection, TensorLine } from "./Inspection.ts"

export const tensorsOf = ({ tensors }: SafetensorsFile): ReadonlyArray<TensorLine> =>
  [...tensors.values()].map(({ name, dtype, shape, bytes }) => ({ name, format: dtype, shape, bytes }))

/** A file, or the index of several. */
export const inspectSafetensors = (path: string) =>
  Effect.scoped(
    Effect.map(path.endsWith(".json") ? openSharded(path) : openSafetensors(path), (file): Inspection => {
      const tensors = tensorsOf(file)
      return { kind: "safetensors", path, facts: [...file.metadata], notes: [], tensors }
    })
  )
