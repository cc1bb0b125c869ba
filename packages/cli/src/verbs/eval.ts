/** `graft eval`: how well a model predicts rows. */
import { DeviceError, type MicroBatch, tokensIn } from "@graft/core"
import { openModel } from "@graft/llama-loader"
import { type PreparedData, prepareData } from "@graft/sft"
import { Effect } from "effect"
import type { EvalInput } from "../flags/evalFlags.ts"
import { showData, showModel } from "../show/findings.ts"
import { duration, rate, whole } from "../show/quantities.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { assemblyLayer, assemblyOf, openAssembled } from "../stack/assembly.ts"
import { forwardPass, planForward, rowsAtOnce } from "../stack/forwardPass.ts"
import { noScore, scoreRows } from "../stack/scoreRows.ts"
import { dataModelOf, templateOf } from "../stack/textOfModel.ts"

export const evaluate = Effect.fnUntraced(function* (input: EvalInput) {
  const screen = makeScreen(input.json)
  const model = yield* openModel(input.model)
  showModel(screen, model)
  const data = yield* prepareData(
    {
      data: input.data,
      ...(input.maxLength === undefined ? {} : { maxLength: input.maxLength }),
      lossOn: input.lossOn,
      columns: input.column ?? {},
      batchSize: input.batchSize,
      shuffle: false
    },
    dataModelOf(model, yield* templateOf(model, input.chatTemplate))
  )
  showData(screen, data.report)
  yield* Effect.provide(score(screen, input, data), assemblyLayer(input, model))
}, Effect.scoped)

const score = Effect.fnUntraced(function* (screen: Screen, input: EvalInput, data: PreparedData) {
  const { backend, assembly, engine, description } = yield* assemblyOf(input)
  const batches = Array.from({ length: data.stepsPerEpoch }, (_, i) => data.batches(i + 1)).flat()
  const memory = planForward(backend.limits, assembly, engine, batches)
  const { queue, model } = yield* openAssembled(screen, backend, assembly, memory)
  const chunk = rowsAtOnce(description.vocabularySize)
  const began = performance.now()
  let sum = noScore
  let seen = 0

  const scoreBatch = async (documents: MicroBatch): Promise<void> => {
    const targets = documents.flatMap((d) => Array.from(d.ids, (_, i) => d.targets[i] ?? -1))
    using pass = forwardPass(queue, model, engine, documents)
    for (let row = 0; row < targets.length; row += chunk) {
      const part = targets.slice(row, row + chunk)
      if (part.some((target) => target >= 0)) sum = scoreRows(sum, await pass.logits(row, part.length), part)
    }
  }
  for (const [i, documents] of batches.entries()) {
    yield* Effect.tryPromise({ try: () => scoreBatch(documents), catch: DeviceError.from })
    seen += tokensIn(documents)
    const perSecond = (1000 * seen) / (performance.now() - began)
    screen.live(
      `batch ${i + 1} of ${batches.length}  loss ${(sum.loss / sum.tokens).toFixed(4)}  ${rate(perSecond)} tokens/s`
    )
  }
  const seconds = (performance.now() - began) / 1000
  const loss = sum.loss / sum.tokens
  const result = { loss, perplexity: Math.exp(loss), tokenAccuracy: sum.correct / sum.tokens, tokens: sum.tokens }
  screen.say(
    `${screen.style.strong(`loss ${loss.toFixed(4)}  perplexity ${result.perplexity.toFixed(2)}  token accuracy ${(100 * result.tokenAccuracy).toFixed(1)} %`)}` +
      `  over ${whole(sum.tokens)} tokens, ${duration(seconds)}`
  )
  screen.event({ event: "Eval", ...result, compute: engine.compute, seconds })
})
