/** Graft's side of bench:peers: the protocol and the arguments of peft_side.py. */
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { NodeServices } from "@effect/platform-node"
import { Cpu, loadNative } from "@graft/backend-cpu"
import { AdamW, Adapter, Backend, Kernels, loadAtOnce, type MicroBatch, ModelLoader, Optimizer } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { FusedKernels } from "@graft/fused-kernels"
import { LlamaLoader, openModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { collectGarbage, makeSession, planOf, type Recipe } from "@graft/trainer"
import { Effect, Layer } from "effect"
import { peakMemory } from "../measure/peakMemory.ts"
import { peakOf } from "../measure/peakOf.ts"
import { timeGemm } from "../measure/timeGemm.ts"
import type { SideArguments } from "./configurations.ts"
import { synthetic } from "./synthetic.ts"

const options = JSON.parse(process.argv[2] ?? "") as SideArguments // from the driver beside this file
const say = (answer: object): void => console.log(JSON.stringify(answer))
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** The labels of transformers' causal loss: position t predicts token t + 1. */
const documentsOf = (rows: ReadonlyArray<ReadonlyArray<number>>): MicroBatch =>
  rows.map((ids, sample) => ({ sample, ids, targets: [...ids.slice(1), -1] }))

const train = Effect.gen(function* () {
  const { model: path, layers, rank, compute, checkpointing, threads, batch, tokens } = options
  const model = path === null ? synthetic(layers) : yield* openModel(path)
  const stack = Layer.mergeAll(AdamW.layer(), Lora.layer({ rank, alpha: 16, targets: "all-linear" })).pipe(
    Layer.provideMerge(LlamaLoader.layerOf(model)),
    Layer.provide(Nf4.layer),
    Layer.provide(DoubleQuant.layer),
    Layer.provideMerge(FusedKernels.layer),
    Layer.provideMerge(Cpu.layer({ threads }))
  )
  const run = Effect.gen(function* () {
    const [backend, kernels, loader] = [yield* Backend, yield* Kernels, yield* ModelLoader]
    const recipe: Recipe = {
      load: loader.load,
      adapter: (yield* Adapter).plan,
      optimizer: (yield* Optimizer).make,
      overrides: kernels.overrides,
      allReduce: () => {},
      compute,
      seed: 0,
      checkpointing,
      maxGradNorm: 0
    }
    const steps = JSON.parse(readFileSync(options.ids, "utf8")) as ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>> // the driver wrote it
    const blank = documentsOf(Array.from({ length: batch }, () => Array<number>(tokens).fill(0)))
    const { memory, trainableParameters } = planOf(backend.limits, recipe, [blank])
    const queue = yield* backend.open(memory.arenaBytes)
    const session = loadAtOnce(makeSession(queue, recipe))
    yield* Effect.promise(() => queue.idle())
    collectGarbage() // as a run does
    say({
      ready: true,
      trainable: trainableParameters,
      plannedBytes: memory.peakBytes,
      peakNow: peakOf("f32", threads)
    })
    for (let i = 0; !(yield* Effect.promise(() => lines.next())).done; i++) {
      const began = performance.now()
      let reads: Promise<ReadonlyArray<Float32Array>> = Promise.resolve([])
      session.step(i + 1, [documentsOf(steps[i % steps.length]!)], 2e-4, ({ loss, tokens: count }) => {
        reads = Promise.all([queue.read(loss), queue.read(count)])
      })
      const [loss, count] = yield* Effect.promise(() => reads)
      yield* Effect.promise(() => queue.idle())
      const seconds = (performance.now() - began) / 1000
      say({ seconds, loss: loss![0]! / count![0]!, peakBytes: peakMemory(), peak: peakOf("f32", threads) })
    }
    session[Symbol.dispose]()
  })
  yield* Effect.provide(run, stack)
})

/** y [tokens, out] = x Wᵀ, as peft_side.py's gemm. */
const gemm = Effect.promise(async () => {
  loadNative()
  say({ ready: true })
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    const [tokens, inner, out, dtype] = JSON.parse(line.value) as [number, number, number, "f32" | "bf16"] // the driver's
    const seconds = await timeGemm({ tokens, in: inner, out, dtype, threads: options.threads, rounds: 3 })
    say({ seconds, peak: peakOf(dtype, options.threads) })
  }
})

await Effect.runPromise(
  (options.model === "gemm" ? gemm : train).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
