/** Prompts that the model answers as it learns: before the first step, every so many, and after the last. */
import { type ActivationDType, type Model, makePart, type Overrides, type Part, type Queue } from "@graft/core"
import { Context, Effect, Layer } from "effect"

/** A sequence in the making: `feed` gives the logits [vocabulary] behind the tokens fed. */
export interface SampleDecoder extends Disposable {
  readonly feed: (ids: ReadonlyArray<number>) => Promise<Float32Array>
}
export interface SamplingService {
  readonly part?: Part["part"]
  readonly prompts: ReadonlyArray<{ readonly prompt: string; readonly ids: ReadonlyArray<number> }>
  /** Steps between samples; 0: only before the first and after the last. */
  readonly every: number
  readonly maxNewTokens: number
  readonly stopIds: ReadonlyArray<number>
  readonly textOf: (ids: ReadonlyArray<number>) => string
  readonly makeDecoder: (
    queue: Queue,
    model: Model,
    options: { readonly compute: ActivationDType; readonly overrides: Overrides; readonly capacity: number }
  ) => SampleDecoder
}
/** No prompts unless a layer says so. */
export class Sampling extends Context.Reference<SamplingService>("@graft/trainer/Sampling", {
  defaultValue: () => ({
    prompts: [],
    every: 0,
    maxNewTokens: 0,
    stopIds: [],
    textOf: () => "",
    makeDecoder: () => ({ feed: () => Promise.reject(new Error("no prompts")), [Symbol.dispose]: () => {} })
  })
}) {
  static readonly layer = (sampling: SamplingService): Layer.Layer<never> =>
    Layer.effect(
      Sampling,
      Effect.map(makePart("samples"), (part) => ({ ...sampling, part }))
    )
}

/** The likeliest token each time, until one stops or there are enough. */
export const answerOf = async (
  { maxNewTokens, stopIds }: SamplingService,
  decoder: SampleDecoder,
  prompt: ReadonlyArray<number>
): Promise<ReadonlyArray<number>> => {
  const made: Array<number> = []
  let fed = prompt
  while (made.length < maxNewTokens) {
    const logits = await decoder.feed(fed)
    let best = 0
    for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
    if (stopIds.includes(best)) break
    made.push(best)
    fed = [best]
  }
  return made
}
