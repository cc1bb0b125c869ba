/** Training all weights of a Llama, from a checkpoint or from scratch: what is saved is a model, not an adapter. */
import {
  Adapter,
  type AdapterPlan,
  ModelLoader,
  makePart,
  normals,
  type SavedFile,
  siteOf,
  sourceOf,
  type TensorFile,
  TrainableWeights
} from "@graft/core"
import { safetensorsChunks } from "@graft/safetensors"
import { Effect, Layer } from "effect"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { expectedTensors } from "../folder/expectedTensors.ts"

/** Weights to begin with, as transformers initialises a Llama: normal with deviation 0.02, gains 1, biases 0. */
export const randomTensors = (config: LlamaConfig, seed: number): TensorFile => {
  const tensors = new Map(
    [...expectedTensors(config)].map(({ name, shape, begins }) => {
      const size = shape.reduce((a, b) => a * b, 1)
      const values = () =>
        begins === "random"
          ? normals(size, seed, siteOf(name)).map((v) => v * 0.02)
          : new Float32Array(size).fill(begins)
      return [name, sourceOf(name, shape, values)] as const
    })
  )
  return { names: [...tensors.keys()], get: (name) => tensors.get(name) }
}

const plan = (beside: ReadonlyArray<SavedFile>): AdapterPlan => ({
  check: (model, codec) =>
    codec === "dense"
      ? undefined
      : `full training of ${model.name} needs dense weights, got ${codec}: a quantised weight cannot be trained`,
  trainsBase: () => true,
  parameters: () => [],
  bind: () => {},
  files: (parameters) => {
    const tensors = parameters.map(({ path, shape, parts }) => ({
      name: path,
      dtype: "f32" as const,
      shape,
      read: parts
    }))
    return [{ name: "model.safetensors", bytes: () => safetensorsChunks(tensors) }, ...beside]
  }
})

export const FullTraining = {
  /** `beside` are files that belong to the saved model: config.json, tokenizer.json. */
  layer: (beside: ReadonlyArray<SavedFile> = []): Layer.Layer<Adapter, never, ModelLoader | TrainableWeights> =>
    Layer.effect(
      Adapter,
      Effect.gen(function* () {
        const model = yield* ModelLoader
        const weights = yield* TrainableWeights
        return { part: yield* makePart("full training", model, weights), plan: plan(beside) }
      })
    )
}
