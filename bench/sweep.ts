/**
 * Adapters of a sweep in one pass and one by one: `bun bench/sweep.ts layer|MODEL_FOLDER TOKENS…` trains three of rank 8, 16 and 32 on all
 * linears over an NF4 base, a layer of Llama-2-7b's shapes (or the model), and says the processor's time of a step either way.
 */
import { Cpu } from "@graft/backend-cpu"
import { AdamW, Adapter, Backend, Kernels, loadAtOnce, ModelLoader, Optimizer } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { FusedKernels } from "@graft/fused-kernels"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { blankDocument, makeSessions, planOf, type Recipe, stepTogether } from "@graft/trainer"
import { Context, Effect, Layer } from "effect"
import { layerOf7B } from "../packages/cli/src/stack/measureLayer.ts"

const RANKS = [8, 16, 32]
const STEPS = 3

const measure = Effect.fnUntraced(function* (tokens: number) {
  const [backend, model] = [yield* Backend, yield* ModelLoader]
  const adapters = yield* Effect.forEach(RANKS, (rank) =>
    Effect.map(
      Layer.build(Lora.layer({ rank, alpha: 16, targets: "all-linear" })),
      (built) => Context.get(built, Adapter).plan
    )
  )
  const recipe: Recipe = {
    load: model.load,
    adapter: adapters[0]!,
    optimizer: (yield* Optimizer).make,
    overrides: (yield* Kernels).overrides,
    allReduce: () => {},
    compute: "f32",
    seed: 0,
    checkpointing: false,
    maxGradNorm: 1,
    stackedTokens: Number.POSITIVE_INFINITY
  }
  const { memory } = planOf(backend.limits, recipe, [[blankDocument(tokens)]], { adapters })
  const queue = yield* backend.open(memory.arenaBytes)
  const sessions = loadAtOnce(makeSessions(queue, recipe, adapters))
  const ids = Array.from({ length: tokens }, (_, i) => (i * 97 + (i >> 3)) % 256)
  const micro = [[{ sample: 0, ids, targets: [...ids.slice(1), -1] }]]
  const seconds = new Map<boolean, number>()
  // By turns, and the best of each: others may use the machine.
  for (let step = 1; step <= 2 * STEPS + 2; step++) {
    const together = step % 2 === 0
    const from = process.cpuUsage()
    let done: Promise<unknown> = Promise.resolve()
    stepTogether(
      queue,
      sessions,
      step,
      micro,
      () => 1e-4,
      (_, { loss }) => {
        done = queue.read(loss)
      },
      together
    )
    yield* Effect.promise(() => done)
    yield* Effect.promise(() => queue.idle())
    const { user } = process.cpuUsage(from)
    if (step > 2) seconds.set(together, Math.min(seconds.get(together) ?? Infinity, user / 1e6))
  }
  sessions[0]![Symbol.dispose]()
  const [apart, together] = [seconds.get(false)!, seconds.get(true)!]
  const ms = (s: number) => `${(1000 * s).toFixed(0)} ms`
  console.log(
    `${tokens} tokens: one by one ${ms(apart)}, together ${ms(together)}, ${(apart / together).toFixed(2)} times`
  )
})

const folder = process.argv[2] === "layer" ? undefined : process.argv[2]
const program = Effect.gen(function* () {
  const model = folder === undefined ? layerOf7B() : yield* openModel(folder)
  console.log(`${model.description}: ${RANKS.length} adapters`)
  const stack = AdamW.layer().pipe(
    Layer.provideMerge(LlamaLoader.layerOf(model)),
    Layer.provide(Layer.provide(Nf4.layer, DoubleQuant.layer)),
    Layer.provideMerge(FusedKernels.layer.pipe(Layer.provideMerge(Cpu.layer({ threads: 1 }))))
  )
  for (const tokens of process.argv.slice(3).map(Number))
    yield* Effect.scoped(Effect.provide(Effect.scoped(measure(tokens)), stack))
})
await Effect.runPromise(Effect.scoped(program))
