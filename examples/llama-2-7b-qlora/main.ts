/** QLoRA on Llama-2-7b by the recipe of its paper (Dettmers et al. 2023, arXiv:2305.14314); README.md says how to start it. */
import { NodeServices } from "@effect/platform-node"
import { Cpu } from "@graft/backend-cpu"
import { makeScreen, openNamed, preparedModel } from "@graft/cli"
import { type Dataset, Trainer as Training } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { FusedKernels } from "@graft/fused-kernels"
import { LlamaLoader, type OpenedModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { PagedAdamW } from "@graft/paged-optim"
import { Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"
import { explained, GATED, options, requireAccess } from "./options.ts"
import { randomRows } from "./randomRows.ts"
import { show } from "./show.ts"
import { requireMemory, shapesOf, writeSynthetic } from "./synthetic.ts"

const { model: name, data, out, synthetic, shapes, layers, tokens, steps, rank, accumulate } = options()

const recipe = { steps, learningRate: 2e-4, warmup: 0.03, maxGradNorm: 0.3, checkpointing: true }
const kept = { saveEvery: 1, resume: true } // a step takes minutes: killed at any time, it goes on after the last one

const stackOf = <E, R>(model: OpenedModel, rows: Layer.Layer<Dataset, E, R>) =>
  Trainer.layer({ ...recipe, ...kept }).pipe(
    Layer.provide(PagedAdamW.layer({ beta2: 0.999, residentBytes: 64 * 2 ** 20, spillFolder: out })),
    Layer.provide(Lora.layer({ rank, alpha: 16, dropout: 0.1, targets: "all-linear" })),
    Layer.provide(rows),
    Layer.provide(FolderStore.layer(out)),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(Nf4.layer),
    Layer.provide(DoubleQuant.layer),
    Layer.provide(FusedKernels.layer),
    Layer.provide(Cpu.layer())
  )
const answers = (model: OpenedModel) =>
  Sft.layer({ data, batchSize: 1, gradAccumulationSteps: accumulate, maxLength: tokens, groupByLength: true }, model)

const program = Effect.gen(function* () {
  const planOfShapes = Effect.provide(
    Effect.flatMap(Training, ({ plan }) => plan),
    stackOf(shapesOf(shapes, layers), randomRows(tokens))
  )
  yield* requireAccess(name, synthetic)
  if (synthetic || name === GATED) yield* requireMemory(planOfShapes)
  const source = synthetic ? yield* writeSynthetic(out, shapes, layers) : name
  const dense = yield* openNamed(source, makeScreen(false))
  const folder = synthetic ? `${dense.path}-nf4` : undefined // else the cache's
  const model = yield* preparedModel(dense, { quantize: "nf4", doubleQuant: true, folder })
  const stack = synthetic ? stackOf(model, randomRows(tokens)) : stackOf(model, answers(model))
  const run = Stream.unwrap(Effect.map(Training, ({ run }) => run)).pipe(Stream.provide(stack))
  yield* Stream.runForEach(run, show(model.description, out))
})
await Effect.runPromise(
  program.pipe(
    Effect.scoped,
    Effect.provide(NodeServices.layer),
    Effect.catch((error) =>
      Effect.sync(() => {
        console.error(explained(error))
        process.exitCode = 1
      })
    )
  )
)
