/**
 * A training step of one layer of Llama-2-7b's shapes with an adapter of rank 16 on all linears: forward and backward, with
 * a vocabulary so small that head and embedding weigh nothing. Weights are random, made as they are read.
 */
import { Cpu, Profile } from "@graft/backend-cpu"
import { AdamW, Adapter, Backend, Dense, Kernels, loadAtOnce, ModelLoader, Optimizer } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { FusedKernels } from "@graft/fused-kernels"
import { decodeHuggingFace, LlamaLoader, type OpenedModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { blankDocument, makeSession, planOf, type Recipe } from "@graft/trainer"
import { Effect, Layer } from "effect"
import { profileOfSteps } from "../show/profileTable.ts"
import { knownShapes } from "../synth/knownShapes.ts"
import { syntheticTensors } from "../synth/syntheticTensors.ts"

export interface LayerBench {
  readonly weights: "dense bf16" | "nf4 + double quantization"
  readonly compute: "f32" | "bf16"
  readonly tokens: number
  readonly threads: number
  readonly isa: string
  readonly fused: boolean
  /** The layer is computed again in backward. */
  readonly recomputed: boolean
  /** Measured ones, after one that is not. */
  readonly steps: number
}
export interface LayerRate {
  readonly secondsPerStep: number
  readonly tokensPerSecond: number
  /** Floating-point operations a second of products and attention over the whole step's time. */
  readonly rate: number
  /** Of the time, what is not products or attention. */
  readonly elseShare: number
  readonly enqueueShare: number
  /** Planned, the device's own included. */
  readonly bytes: number
  /** Loss and gradient norm of each step: equal bits for any number of threads. */
  readonly numbers: ReadonlyArray<number>
}

/** A layer of Llama-2-7b's shapes with random weights. */
export const layerOf7B = (): OpenedModel => {
  const shapes = { ...knownShapes["llama-2-7b"], num_hidden_layers: 1, vocab_size: 256 }
  const config = decodeHuggingFace("a layer of Llama-2-7b", shapes)
  return {
    path: "a layer of Llama-2-7b",
    config,
    tensors: syntheticTensors(config, "bf16", 0),
    tokenizer: undefined,
    chatTemplate: undefined,
    stopIds: [],
    description: "a layer of Llama-2-7b's shapes, random weights",
    fingerprint: "a layer",
    notes: []
  }
}

export const measureLayer = Effect.fnUntraced(function* (bench: LayerBench) {
  const { weights, compute, tokens, threads, isa, fused, recomputed, steps } = bench
  const profile = new Profile()
  const device = Cpu.layer({ threads, isa }, profile)
  const storage = weights === "dense bf16" ? Dense.layerOf("bf16") : Layer.provide(Nf4.layer, DoubleQuant.layer)
  const stack = Layer.mergeAll(AdamW.layer(), Lora.layer({ rank: 16, alpha: 16, targets: "all-linear" })).pipe(
    Layer.provideMerge(LlamaLoader.layerOf(layerOf7B())),
    Layer.provide(storage),
    Layer.provideMerge(fused ? FusedKernels.layer.pipe(Layer.provideMerge(device)) : device)
  )
  const run = Effect.gen(function* () {
    const [backend, model] = [yield* Backend, yield* ModelLoader]
    const recipe: Recipe = {
      load: model.load,
      adapter: (yield* Adapter).plan,
      optimizer: (yield* Optimizer).make,
      overrides: (yield* Kernels).overrides,
      allReduce: () => {},
      compute,
      seed: 0,
      checkpointing: recomputed,
      maxGradNorm: 1
    }
    const { memory } = planOf(backend.limits, recipe, [[blankDocument(tokens)]])
    const queue = yield* backend.open(memory.arenaBytes)
    const session = loadAtOnce(makeSession(queue, recipe))
    const ids = Array.from({ length: tokens }, (_, i) => (i * 97 + (i >> 3)) % 256)
    const documents = [{ sample: 0, ids, targets: [...ids.slice(1), -1] }]
    const numbers: Array<number> = []
    for (let step = 1; step <= steps + 1; step++) {
      let scalars: Promise<ReadonlyArray<Float32Array>> = Promise.resolve([])
      session.step(step, [documents], 1e-4, ({ loss, control }) => {
        scalars = Promise.all([queue.read(loss), queue.read(control)])
      })
      const [loss, control] = yield* Effect.promise(() => scalars)
      numbers.push(loss![0]!, control![3]!)
    }
    const measured = profileOfSteps(profile.collect())!
    session[Symbol.dispose]()
    const work = measured.rows.filter(({ flops }) => flops > 0)
    const secondsPerStep = measured.seconds / measured.steps
    return {
      secondsPerStep,
      tokensPerSecond: tokens / secondsPerStep,
      rate: work.reduce((sum, { flops }) => sum + flops, 0) / measured.seconds,
      elseShare: 1 - work.reduce((sum, { seconds }) => sum + seconds, 0) / measured.seconds,
      enqueueShare: measured.enqueueSeconds / measured.seconds,
      bytes: memory.peakBytes,
      numbers
    } satisfies LayerRate
  })
  return yield* Effect.scoped(Effect.provide(run, stack))
})
