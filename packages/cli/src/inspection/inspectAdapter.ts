import { join } from "node:path"
import { readAdapter } from "@graft/lora"
import { openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import type { Inspection } from "./Inspection.ts"
import { tensorsOf } from "./inspectSafetensors.ts"

const written = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))

/** PEFT's adapter folder. */
export const inspectAdapter = (path: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { options, config } = yield* readAdapter(path)
      const tensors = tensorsOf(yield* openSafetensors(join(path, "adapter_model.safetensors")))
      const { rank, alpha, dropout, rsLora, dora, targets, exclude, rankPattern, alphaPattern, layers, modulesToSave } =
        options
      const parameters = tensors.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0)
      const linears = tensors.filter(({ name }) => name.includes("lora_A")).length
      return {
        kind: "adapter",
        path,
        facts: [
          ["base model", config.base_model_name_or_path ?? null],
          ["method", `${dora ? "DoRA" : "LoRA"}${rsLora ? ", rank-stabilised" : ""}`],
          ["rank", rank],
          ["alpha", alpha],
          ["scale", Number((alpha / (rsLora ? Math.sqrt(rank) : rank)).toPrecision(6))],
          ["dropout", dropout],
          ["targets", written(targets)],
          ...(exclude === undefined ? [] : [["exclude", written(exclude)] as const]),
          ...(layers === undefined ? [] : [["layers", layers.join(", ")] as const]),
          ...(Object.keys(rankPattern).length === 0 ? [] : [["rank pattern", written(rankPattern)] as const]),
          ...(Object.keys(alphaPattern).length === 0 ? [] : [["alpha pattern", written(alphaPattern)] as const]),
          ...(modulesToSave === undefined ? [] : [["modules to save", modulesToSave.join(", ")] as const]),
          ["linears", linears],
          ["parameters", parameters]
        ],
        notes: [],
        tensors
      } satisfies Inspection
    })
  )
