import { existsSync } from "node:fs"
import { join } from "node:path"
import { openModel, parameterCount } from "@graft/llama-loader"
import { Effect } from "effect"
import type { Inspection } from "./Inspection.ts"
import { inspectSafetensors } from "./inspectSafetensors.ts"

/** A Hugging Face folder. */
export const inspectModel = (path: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const model = yield* openModel(path)
      const { config, tokenizer, chatTemplate, stopIds } = model
      const single = join(path, "model.safetensors")
      const weights = yield* inspectSafetensors(existsSync(single) ? single : `${single}.index.json`)
      const { ropeScaling } = config
      return {
        kind: "model",
        path,
        facts: [
          ["model", model.description],
          ["parameters", parameterCount(config)],
          ["intermediate size", config.intermediateSize],
          ["rope", `theta ${config.ropeTheta}${ropeScaling.type === "none" ? "" : `, scaling ${ropeScaling.type}`}`],
          ["tied embeddings", config.tieWordEmbeddings],
          ["quantisation", config.quantization === undefined ? "none" : JSON.stringify(config.quantization)],
          [
            "tokenizer",
            tokenizer === undefined ? "none: it takes token ids only" : `${tokenizer.vocabularySize} tokens`
          ],
          ["chat template", chatTemplate === undefined ? "none" : `${chatTemplate.source.length} characters`],
          ["ends a text", stopIds.join(", ") || "nothing"],
          ["fingerprint", model.fingerprint]
        ],
        notes: model.notes,
        tensors: weights.tensors
      } satisfies Inspection
    })
  )
