/** Loss of a model over documents: loaded once, a batch at a time. */
import { DeviceError, type MicroBatch, tokensIn } from "@graft/core"
import { Effect } from "effect"
import type { BackendInput } from "../flags/modelFlags.ts"
import { rate } from "../show/quantities.ts"
import type { Screen } from "../show/Screen.ts"
import { assemblyOf, openAssembled } from "./assembly.ts"
import { forwardPass, planForward, rowsAtOnce } from "./forwardPass.ts"
import { noScore, scoreRows } from "./scoreRows.ts"

export const scoreBatches = Effect.fnUntraced(function* (
  screen: Screen,
  input: Pick<BackendInput, "compute">,
  batches: ReadonlyArray<MicroBatch>
) {
  const { backend, assembly, engine, description } = yield* assemblyOf(input)
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
  screen.live("")
  const seconds = (performance.now() - began) / 1000
  return { ...sum, meanLoss: sum.loss / sum.tokens, compute: engine.compute, seconds }
}, Effect.scoped)
