/** Loss of a model over documents: loaded once, a batch at a time; only what has a target goes through the head. */
import { DeviceError, type MicroBatch, supervisedIn, tokensIn } from "@graft/core"
import { Effect } from "effect"
import type { BackendInput } from "../flags/modelFlags.ts"
import { rate } from "../show/quantities.ts"
import type { Screen } from "../show/Screen.ts"
import { assemblyOf, openAssembled } from "./assembly.ts"
import { type ForwardPass, forwardPass, planForward } from "./forwardPass.ts"

const sumOf = (values: Float32Array): number => values.reduce((a, b) => a + b, 0)

export const scoreBatches = Effect.fnUntraced(function* (
  screen: Screen,
  input: Pick<BackendInput, "compute">,
  batches: ReadonlyArray<MicroBatch>
) {
  const { backend, assembly, engine } = yield* assemblyOf(input)
  const scoresOf = (pass: ForwardPass) => pass.scores()
  const memory = planForward(backend.limits, assembly, engine, batches, scoresOf)
  const { queue, model } = yield* openAssembled(screen, backend, assembly, memory)
  const began = performance.now()
  /** Σ −log p(target), in nats. */
  let loss = 0
  let correct = 0
  let tokens = 0
  let seen = 0

  const scoreBatch = async (documents: MicroBatch): Promise<void> => {
    using pass = forwardPass(queue, model, engine, documents)
    const [losses, hits] = await pass.scores()
    loss += sumOf(losses)
    correct += sumOf(hits)
    tokens += supervisedIn(documents)
  }
  for (const [i, documents] of batches.entries()) {
    yield* Effect.tryPromise({ try: () => scoreBatch(documents), catch: DeviceError.from })
    seen += tokensIn(documents)
    const perSecond = (1000 * seen) / (performance.now() - began)
    screen.live(`batch ${i + 1} of ${batches.length}  loss ${(loss / tokens).toFixed(4)}  ${rate(perSecond)} tokens/s`)
  }
  screen.live("")
  const seconds = (performance.now() - began) / 1000
  return { loss, correct, tokens, meanLoss: loss / tokens, compute: engine.compute, seconds }
}, Effect.scoped)
