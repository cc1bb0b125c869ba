/** `--sample`: prompts for a run, in the chat template where the model has one, else as a text to go on with. */
import { makeDecoder, type OpenedModel } from "@graft/llama-loader"
import type { ChatTemplate } from "@graft/sft"
import { Sampling } from "@graft/trainer"
import { Effect, Layer } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { encodeChat, encodeText, requireTokenizer } from "./promptOf.ts"

export const samplingLayer = Effect.fnUntraced(function* (
  input: TrainInput,
  model: OpenedModel,
  /** What writes the training rows' conversations. */
  template: ChatTemplate | undefined
) {
  if (input.sample.length === 0) return Layer.empty
  const tokenizer = yield* requireTokenizer(model)
  const prompts = yield* Effect.forEach(input.sample, (prompt) =>
    Effect.map(
      template === undefined
        ? Effect.succeed(encodeText(model, prompt))
        : encodeChat(model, template, [{ role: "user", content: prompt }]),
      (ids) => ({ prompt, ids })
    )
  )
  return Sampling.layer({
    prompts,
    every: input.sampleEvery,
    maxNewTokens: input.sampleTokens,
    stopIds: model.stopIds,
    textOf: (ids) => tokenizer.decode(ids, { skipSpecial: true }),
    makeDecoder
  })
})
