/**
 * Fine-tunes a GGUF on its own quantised blocks, packed in memory as the file has them, and reads the adapter back:
 * `bun examples/from-gguf/main.ts [FILE.gguf] [ROWS.jsonl]`. The adapter is PEFT's, for the Hugging Face model that the GGUF
 * was made from: Q and K rows are in Hugging Face's order. `graft export` makes a GGUF of it for llama.cpp.
 */
import { fileURLToPath } from "node:url"
import { NodeServices } from "@effect/platform-node"
import { Cpu } from "@graft/backend-cpu"
import { AdamW } from "@graft/core"
import { GgufBlocks } from "@graft/gguf-quant"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Lora, readAdapter } from "@graft/lora"
import { Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"

const near = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const [file = near("../../packages/testing/fixtures/tiny-bpe/quantized.gguf"), data = near("../data/jargon.jsonl")] =
  process.argv.slice(2)
const out = process.argv[4] ?? near("adapter")

const program = Effect.gen(function* () {
  const model = yield* openModel(file)
  console.log(model.description)
  const stack = Trainer.layer({ steps: 10, learningRate: 1e-2, compute: "f32" }).pipe(
    Layer.provide(AdamW.layer()),
    Layer.provide(Lora.layer({ rank: 4, alpha: 8, targets: ["q_proj", "v_proj"] })),
    Layer.provide(Sft.layer({ data, batchSize: 8, maxLength: 64, evaluationFraction: 0.05 }, model)),
    Layer.provide(FolderStore.layer(out)),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(GgufBlocks.layer),
    Layer.provide(Cpu.layer())
  )
  const training = Stream.unwrap(Effect.map(Trainer, ({ run }) => run)).pipe(Stream.provide(stack))
  yield* Stream.runForEach(training, (event) => {
    if (event._tag === "Plan")
      console.log(`weights: ${Math.round((event.memory.byCategory.get("weights") ?? 0) / 1000)} kB in memory`)
    if (event._tag === "Eval") console.log(`held out, after step ${event.step}: loss ${event.loss.toFixed(2)}`)
    return Effect.void
  })
  const { config, values } = yield* readAdapter(out)
  console.log(`saved: rank ${config.r}, ${values.size} tensors, for ${config.target_modules}`)
})
await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
