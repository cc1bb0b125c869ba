/** Supervised fine-tuning data as core's `Dataset`. */
import { type BadOptions, Dataset, ModelLoader, makePart } from "@graft/core"
import { Effect, Layer } from "effect"
import type { DataError } from "./DataError.ts"
import type { DataModel } from "./DataModel.ts"
import { showPlace } from "./Place.ts"
import { type PreparedData, prepareData } from "./prepareData.ts"
import type { SftOptions } from "./SftOptions.ts"

/** How the model reads text: its tokenizer, its chat template, and the tokens that end its answers. */
export type TextOfModel = Pick<DataModel, "tokenizer" | "chatTemplate" | "stopIds" | "again">

const asDataset = (data: PreparedData) => ({ ...data, nameOf: (sample: number) => showPlace(data.placeOf(sample)) })

/**
 * @example
 * Sft.layer({ data: "answers.jsonl", batchSize: 4 }, { tokenizer, chatTemplate })
 */
export const Sft = {
  /** Reads and encodes the data for the model below. Without `text`, for rows that are tokenised already. */
  layer: (
    options: (typeof SftOptions)["Encoded"],
    text: TextOfModel = {}
  ): Layer.Layer<Dataset, DataError | BadOptions, ModelLoader> =>
    Layer.effect(
      Dataset,
      Effect.gen(function* () {
        const model = yield* ModelLoader
        const { vocabularySize, maxPositions } = model.description
        const data = yield* prepareData(options, { ...text, vocabularySize, positions: maxPositions })
        return { ...asDataset(data), part: yield* makePart("sft", model) }
      })
    ),
  /** Data that has been prepared already, for whoever wants to see its report first. */
  layerOf: (data: PreparedData): Layer.Layer<Dataset> =>
    Layer.effect(
      Dataset,
      Effect.map(makePart("sft"), (part) => ({ ...asDataset(data), part }))
    )
}
