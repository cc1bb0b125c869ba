/** Which layers of a model slide, as config.json says it: by `layer_types`, else by a rule of the family. */
import type { HuggingFaceConfig } from "../config/huggingFaceSchema.ts"
import type { Fail, Fields } from "./Architecture.ts"

/** A flag for each layer; more than a model may have are refused later, by the config's schema. */
export const eachLayer = (layers: number, rule: (layer: number) => boolean): ReadonlyArray<boolean> =>
  Array.from({ length: Math.min(Math.max(0, layers), 10_001) }, (_, layer) => rule(layer))

/** `layer_types` as flags: true where a layer slides. */
export const slidingByType = (types: ReadonlyArray<string>, layers: number, fail: Fail): ReadonlyArray<boolean> => {
  if (types.length !== layers) fail(`layer_types has ${types.length} entries for ${layers} layers`)
  const odd = types.find((type) => type !== "full_attention" && type !== "sliding_attention")
  if (odd !== undefined)
    fail(`layer_types names ${JSON.stringify(odd)}; full_attention and sliding_attention are known`)
  return types.map((type) => type === "sliding_attention")
}

/** The window and the layers that have it; nothing where none slides. */
export const windowFields = (config: HuggingFaceConfig, rule: (layer: number) => boolean, fail: Fail): Fields => {
  const { sliding_window: window, layer_types: types, num_hidden_layers: layers } = config
  if (window == null) return {}
  const sliding = types == null ? eachLayer(layers, rule) : slidingByType(types, layers, fail)
  if (!sliding.includes(true)) return {}
  return sliding.includes(false) ? { window, slidingLayers: sliding } : { window }
}

/** `sliding_window` counts only where `use_sliding_window` says so, from layer `max_window_layers` on (Qwen). */
export const windowOfLateLayers = (config: HuggingFaceConfig, fail: Fail): Fields =>
  config.use_sliding_window === true
    ? windowFields(config, (layer) => layer >= (config.max_window_layers ?? 28), fail)
    : {}

/** How config.json says `windowFields`. */
export const windowKeys = ({
  window,
  slidingLayers,
  layers
}: {
  readonly window?: number
  readonly slidingLayers?: ReadonlyArray<boolean>
  readonly layers: number
}): Readonly<Record<string, unknown>> => {
  const sliding = slidingLayers ?? Array<boolean>(layers).fill(window !== undefined)
  return {
    sliding_window: window ?? null,
    layer_types: sliding.map((slides) => (slides ? "sliding_attention" : "full_attention"))
  }
}
