/** A run of the toy as functions of a queue. */
import { adamW, type Codec, denseCodec } from "@graft/core"
import type { Recipe } from "@graft/trainer"
import { toyLora } from "./toyAdapters.ts"
import { loadToyModel, type ToyOptions } from "./toyModel.ts"

export const toyAdamW = adamW({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, groupFactors: {} })

export const toyRecipe = ({
  codec = denseCodec(),
  model = {},
  ...more
}: Partial<Recipe> & { readonly codec?: Codec; readonly model?: Partial<ToyOptions> } = {}): Recipe => {
  const load = loadToyModel(model)
  return {
    load: (queue, scope, trained) => load(queue, scope, codec, trained),
    adapter: toyLora(),
    optimizer: toyAdamW,
    overrides: new Map(),
    allReduce: () => {},
    compute: "f32",
    seed: 1,
    checkpointing: false,
    maxGradNorm: 1,
    ...more
  }
}
