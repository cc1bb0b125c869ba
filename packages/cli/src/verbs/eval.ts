/** `graft eval`: how well a model predicts rows. */
import { findingCodes, type PreparedData, prepareData } from "@graft/sft"
import { Effect } from "effect"
import type { EvalInput } from "../flags/evalFlags.ts"
import { showData, showModel } from "../show/findings.ts"
import { duration, whole } from "../show/quantities.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { withAddedTokens } from "../stack/addedTokens.ts"
import { preparedAssembly } from "../stack/assembly.ts"
import { openNamed } from "../stack/openNamed.ts"
import { rowOptions } from "../stack/rowOptions.ts"
import { scoreBatches } from "../stack/scoreBatches.ts"
import { dataModelOf, templateOf } from "../stack/textOfModel.ts"

export const evaluate = Effect.fnUntraced(function* (input: EvalInput) {
  const screen = makeScreen(input.json)
  const opened = yield* openNamed(input.model, screen)
  const model = yield* withAddedTokens(opened, input)
  showModel(screen, model)
  const data = yield* prepareData(
    {
      ...rowOptions(input),
      allow: findingCodes,
      batchSize: input.batchSize,
      shuffle: false
    },
    dataModelOf(model, yield* templateOf(model, input))
  )
  showData(screen, data.report)
  yield* Effect.provide(score(screen, input, data), yield* preparedAssembly(input, opened, screen))
}, Effect.scoped)

const score = Effect.fnUntraced(function* (screen: Screen, input: EvalInput, data: PreparedData) {
  const batches = Array.from({ length: data.stepsPerEpoch }, (_, i) => data.batches(i + 1)).flat()
  const { meanLoss: loss, correct, tokens, compute, seconds } = yield* scoreBatches(screen, input, batches)
  const result = { loss, perplexity: Math.exp(loss), tokenAccuracy: correct / tokens, tokens }
  screen.say(
    `${screen.style.strong(`loss ${loss.toFixed(4)}  perplexity ${result.perplexity.toFixed(2)}  token accuracy ${(100 * result.tokenAccuracy).toFixed(1)} %`)}` +
      `  over ${whole(tokens)} tokens, ${duration(seconds)}`
  )
  screen.event({ event: "Eval", ...result, compute, seconds })
})
