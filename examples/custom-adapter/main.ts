/** Trains IA³, an adapter that Graft does not know, on a tiny model: `bun examples/custom-adapter/main.ts MODEL DATA`. */
import { AdamW, Dense, Reference } from "@graft/core"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Sft } from "@graft/sft"
import { Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"
import { Ia3 } from "./ia3.ts"

const [path = "packages/testing/fixtures/tiny-bpe", data = "examples/data/jargon-held-out.jsonl"] =
  process.argv.slice(2)

const program = Effect.gen(function* () {
  const model = yield* openModel(path)
  const stack = Trainer.layer({ steps: 8, learningRate: 0.05, compute: "f32" }).pipe(
    Layer.provide(AdamW.layer()),
    Layer.provide(Ia3.layer),
    Layer.provide(Sft.layer({ data, evaluationFraction: 0.2, batchSize: 16, maxLength: 64 }, model)),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(Dense.layer),
    Layer.provide(Reference.layer)
  )
  yield* Trainer.use(({ run }) =>
    Stream.runForEach(run, (event) =>
      Effect.sync(() => {
        if (event._tag === "Plan") console.log(`trains ${event.trainableParameters} numbers: ${event.parts.join(", ")}`)
        if (event._tag === "Eval") console.log(`held-out loss after step ${event.step}: ${event.loss.toFixed(4)}`)
        if (event._tag === "Step") console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}`)
      })
    )
  ).pipe(Effect.provide(stack))
})
await Effect.runPromise(Effect.scoped(program))
