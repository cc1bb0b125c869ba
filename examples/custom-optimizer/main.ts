/** Trains with an optimiser that Graft does not know, on a tiny model: `bun examples/custom-optimizer/main.ts MODEL DATA`. */
import { Dense, Reference } from "@graft/core"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Sft } from "@graft/sft"
import { Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"
import * as Nesterov from "./nesterov.ts"

const [path = "packages/testing/fixtures/tiny-bpe", data = "examples/data/jargon-held-out.jsonl"] =
  process.argv.slice(2)

const program = Effect.gen(function* () {
  const model = yield* openModel(path)
  const stack = Trainer.layer({ steps: 8, learningRate: 0.5, compute: "f32" }).pipe(
    Layer.provide(Nesterov.layer),
    Layer.provide(Lora.layer({ rank: 8, alpha: 16, targets: "all-linear" })),
    Layer.provide(Sft.layer({ data, evaluationFraction: 0.2, batchSize: 16, maxLength: 64 }, model)),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(Dense.layer),
    Layer.provide(Reference.layer)
  )
  yield* Trainer.use(({ run }) =>
    Stream.runForEach(run, (event) =>
      Effect.sync(() => {
        if (event._tag === "Plan") {
          const state = event.memory.byCategory.get("optimizer") ?? 0
          console.log(
            `trains ${event.trainableParameters} numbers with ${state} bytes of state: ${event.parts.join(", ")}`
          )
        }
        if (event._tag === "Eval") console.log(`held-out loss after step ${event.step}: ${event.loss.toFixed(4)}`)
        if (event._tag === "Step") console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}`)
      })
    )
  ).pipe(Effect.provide(stack))
})
await Effect.runPromise(Effect.scoped(program))
