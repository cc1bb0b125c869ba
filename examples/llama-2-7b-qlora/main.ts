/**
 * QLoRA on Llama-2-7b (Dettmers et al. 2023, arXiv:2305.14314): NF4 with double quantization, adapters on all linears, paged
 * AdamW in 32 bits, the paper's constant rate, warm-up and clipping. `bun main.ts --model DIR|FILE.gguf --data ROWS.jsonl`, or with no model at
 * hand `bun main.ts --synthetic --layers 2`.
 */
import { mkdirSync } from "node:fs"
import { parseArgs } from "node:util"
import { NodeServices } from "@effect/platform-node"
import { Cpu } from "@graft/backend-cpu"
import { DoubleQuant } from "@graft/double-quant"
import { FusedKernels } from "@graft/fused-kernels"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { PagedAdamW } from "@graft/paged-optim"
import { Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"
import { randomRows } from "./randomRows.ts"
import { synthetic } from "./synthetic.ts"

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    data: { type: "string" },
    out: { type: "string", default: "llama-2-7b-qlora" },
    synthetic: { type: "boolean", default: false },
    layers: { type: "string", default: "32" },
    tokens: { type: "string", default: "512" },
    steps: { type: "string", default: "10" },
    rank: { type: "string", default: "16" }
  }
})
const { model: path, data, out } = values
if (!values.synthetic && (path === undefined || data === undefined)) {
  console.error("Llama-2-7b is gated: ask for access at huggingface.co/meta-llama/Llama-2-7b-hf, fetch it, and give")
  console.error("  --model FOLDER --data ROWS.jsonl     or a GGUF:  --model FILE.gguf --data ROWS.jsonl")
  console.error("or try its shapes with random weights:  --synthetic --layers 2")
  process.exit(1)
}
const tokens = Number(values.tokens)
mkdirSync(out, { recursive: true })
const program = Effect.gen(function* () {
  const model = path === undefined ? synthetic(Number(values.layers)) : yield* openModel(path)
  const rows = data === undefined ? randomRows(tokens) : Sft.layer({ data, batchSize: 1, maxLength: tokens }, model)
  const stack = Trainer.layer({
    steps: Number(values.steps),
    learningRate: 2e-4,
    warmup: 0.03,
    maxGradNorm: 0.3,
    checkpointing: true
  }).pipe(
    Layer.provide(PagedAdamW.layer({ beta2: 0.999, residentBytes: 64 * 2 ** 20, spillFolder: out })),
    Layer.provide(Lora.layer({ rank: Number(values.rank), alpha: 16, targets: "all-linear" })),
    Layer.provide(rows),
    Layer.provide(FolderStore.layer(out)),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(Nf4.layer),
    Layer.provide(DoubleQuant.layer),
    Layer.provide(FusedKernels.layer),
    Layer.provide(Cpu.layer())
  )
  const training = Stream.unwrap(Effect.map(Trainer, ({ run }) => run)).pipe(Stream.provide(stack))
  yield* Stream.runForEach(training, (event) =>
    Effect.sync(() => {
      const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
      if (event._tag === "Plan") {
        console.log(
          `${model.description}: ${mb(event.memory.peakBytes)} planned, ${event.trainableParameters} parameters trained`
        )
        for (const [category, bytes] of event.memory.atPeak)
          console.log(`  ${category.padEnd(12)} ${mb(bytes).padStart(12)}`)
      }
      if (event._tag === "Step")
        console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}, ${event.tokensPerSecond.toFixed(1)} tokens/s`)
      if (event._tag === "Done") console.log(`${mb(event.peakBytes)} taken; the adapter lies in ${out}`)
    })
  )
})
await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
