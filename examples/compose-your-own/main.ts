/**
 * A fine-tune put together from parts: `bun main.ts [MODEL] [DATA]`. Without the fused kernels or the store it means what it
 * says, and gives the same adapter; without another line of the stack it does not compile.
 */
import { fileURLToPath } from "node:url"
import { NodeServices } from "@effect/platform-node"
import { Cpu } from "@graft/backend-cpu"
import { Dense } from "@graft/core"
import { FusedKernels } from "@graft/fused-kernels"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { PagedAdamW } from "@graft/paged-optim"
import { Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"

const near = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const [path = near("../../packages/testing/fixtures/tiny-bpe"), data = near("../data/jargon.jsonl")] =
  process.argv.slice(2)

const program = Effect.gen(function* () {
  const model = yield* openModel(path)
  const Stack = Trainer.layer({ steps: 30, learningRate: 1e-2, schedule: "linear", compute: "f32" }).pipe(
    Layer.provide(PagedAdamW.layer({ bits: 8, residentBytes: 64 * 1024, weightDecay: 0.01 })),
    Layer.provide(Lora.layer({ rank: 8, alpha: 16, targets: "all-linear" })),
    Layer.provide(Sft.layer({ data, batchSize: 8, maxLength: 96, evaluationFraction: 0.05 }, model)),
    Layer.provide(FolderStore.layer(near("adapter"))),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(Dense.layer),
    Layer.provide(FusedKernels.layer),
    Layer.provide(Cpu.layer({ threads: 2 }))
  )
  const training = Stream.unwrap(Effect.map(Trainer, ({ run }) => run)).pipe(Stream.provide(Stack))
  yield* Stream.runForEach(training, (event) => {
    if (event._tag === "Plan")
      console.log(`${event.trainableParameters} parameters trained, ${event.memory.peakBytes} bytes planned`)
    if (event._tag === "Step" && event.step % 10 === 0) console.log(`step ${event.step}: loss ${event.loss.toFixed(2)}`)
    if (event._tag === "Eval") console.log(`held out, after step ${event.step}: loss ${event.loss.toFixed(2)}`)
    return Effect.void
  })
})
await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
