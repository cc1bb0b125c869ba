/** LoRA as a layer of a stack. It requires the model, so that a wrong pair is refused before a weight is read. */
import { Adapter, type BadOptions, BadStack, decodeOptions, ModelLoader, makePart } from "@graft/core"
import { Effect, Layer } from "effect"
import { LoraOptions } from "./LoraOptions.ts"
import { loraPlan, type SavedAdapter } from "./loraPlan.ts"
import { type AdapterError, readAdapter } from "./readAdapter.ts"

const decode = decodeOptions("lora", LoraOptions)

const make = (options: LoraOptions, saved?: SavedAdapter) =>
  Effect.gen(function* () {
    const model = yield* ModelLoader
    const plan = loraPlan(options, saved)
    const problem = plan.check(model.description, model.codec)
    if (problem !== undefined) return yield* new BadStack({ message: problem })
    return { part: yield* makePart(options.dora ? "DoRA" : "LoRA", model), plan }
  })

export const Lora = {
  /** A fresh adapter: it changes nothing until it is trained. */
  layer: (options: typeof LoraOptions.Encoded = {}): Layer.Layer<Adapter, BadOptions | BadStack, ModelLoader> =>
    Layer.effect(
      Adapter,
      Effect.flatMap(decode(options), (decoded) => make(decoded))
    ),
  /** An adapter folder of PEFT's format, to go on from or to use. `dropout` acts in training only. */
  layerFrom: (
    folder: string,
    training: { readonly dropout?: number } = {}
  ): Layer.Layer<Adapter, AdapterError | BadStack, ModelLoader> =>
    Layer.effect(
      Adapter,
      Effect.flatMap(readAdapter(folder), ({ options, values }) => make({ ...options, ...training }, values))
    )
}
