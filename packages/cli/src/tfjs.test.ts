/**
 * TensorFlow.js as the engine of the embedded model, LoRA and QLoRA: the native backend's curve, the plan's memory, nothing left
 * behind by a step; only kernels that tfjs-node-gpu has; 4-bit weights bit for bit.
 */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { TfjsQueue, tfjsLimits } from "@graft/backend-tfjs"
import {
  Adapter,
  adamW,
  Dense,
  type Limits,
  loadAtOnce,
  type MicroBatch,
  ModelLoader,
  type Queue,
  Reference,
  ReferenceQueue,
  Scope,
  sourceOf,
  uniforms,
  type WeightCodec
} from "@graft/core"
import { DoubleQuant, doubleQuant } from "@graft/double-quant"
import { LlamaLoader } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { fourBitCodec, fp4, Nf4, nf4, plainScales } from "@graft/nf4-quant"
import { testWeight } from "@graft/testing"
import { makeSession, planOf, type Recipe } from "@graft/trainer"
import "@tensorflow/tfjs-backend-cpu"
import "@tensorflow/tfjs-backend-wasm"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import * as tf from "@tensorflow/tfjs-core"
import { Effect, Layer } from "effect"

tf.enableProdMode()
const TIMEOUT = { timeout: 240_000 }
const model = fileURLToPath(new URL("../../../examples/quickstart/model", import.meta.url))
const twoDocuments: MicroBatch = [0, 1].map((sample) => {
  const ids = Array.from({ length: 24 - 7 * sample }, (_, i) => (i * i * 31 + 17 * sample + 5) % 4096)
  return { sample, ids, targets: [...ids.slice(1), -1] }
})

/** Uses the embedded model with an adapter, as a recipe. */
const withRecipe = (codec: Layer.Layer<WeightCodec>, use: (recipe: Recipe) => Promise<void>): Promise<void> =>
  Effect.gen(function* () {
    const [{ load }, { plan: adapter }] = [yield* ModelLoader, yield* Adapter]
    const recipe: Recipe = {
      load,
      adapter,
      optimizer: adamW({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, groupFactors: {} }),
      overrides: new Map(),
      allReduce: () => {},
      compute: "f32",
      seed: 0,
      checkpointing: false,
      maxGradNorm: 1
    }
    yield* Effect.promise(() => use(recipe))
  }).pipe(
    Effect.provide(
      Lora.layer({ rank: 8, alpha: 16, targets: "all-linear" }).pipe(
        Layer.provideMerge(LlamaLoader.layer(model)),
        Layer.provide(codec),
        Layer.provideMerge(Reference.layer)
      )
    ),
    Effect.runPromise
  )

/** Losses of `steps` steps; `mark` is called when the session stands and after each step. */
const run = async (
  documents: MicroBatch,
  limits: Limits,
  open: (bytes: ReadonlyArray<number>) => Queue,
  recipe: Recipe,
  steps: number,
  mark = () => {}
) => {
  const { memory } = planOf(limits, recipe, [documents])
  const queue = open(memory.arenaBytes)
  const session = loadAtOnce(makeSession(queue, recipe))
  const losses: Array<number> = []
  await queue.idle()
  mark()
  for (let step = 1; step <= steps; step++) {
    let read: ReadonlyArray<Promise<Float32Array>> = []
    session.step(step, [documents], 1e-2, ({ loss, tokens }) => {
      read = [queue.read(loss), queue.read(tokens)]
    })
    const [[loss], [tokens]] = (await Promise.all(read)) as unknown as [[number], [number]] // two scalars
    losses.push(loss / tokens)
    await queue.idle()
    mark()
  }
  session[Symbol.dispose]()
  await queue.close()
  return { losses, memory }
}
const native = loadNative()
const cpu = cpuLimits(native.info(), 2)
const openCpu = (bytes: ReadonlyArray<number>) =>
  new CpuQueue(native, bytes, cpu, { threads: 2, isa: native.info().isa })
const codecs: Readonly<Record<string, Layer.Layer<WeightCodec>>> = {
  LoRA: Dense.layer,
  QLoRA: Nf4.layer.pipe(Layer.provide(DoubleQuant.layer), Layer.orDie)
}
const nodeGpu = JSON.parse(
  readFileSync(new URL("../../backend-tfjs/kernels/tfjs-node-gpu.json", import.meta.url), "utf8")
) as { readonly kernels: ReadonlyArray<string> } // as its script writes it

for (const backend of ["wasm", "cpu"]) {
  for (const [name, codec] of Object.entries(codecs)) {
    test(`tfjs ${backend}: ${name} of the embedded model`, TIMEOUT, () =>
      withRecipe(codec, async (recipe) => {
        const [steps, documents] = backend === "wasm" ? [3, twoDocuments] : [2, twoDocuments.slice(1)] // JavaScript is slow
        const wanted = await run(documents, cpu, openCpu, recipe, steps)
        await tf.setBackend(backend)
        await tf.ready()
        const before = tf.memory().numTensors
        const marks: Array<number> = []
        const limits = tfjsLimits(backend)
        let got: Awaited<ReturnType<typeof run>> | undefined
        const profile = await tf.profile(async () => {
          got = await run(
            documents,
            limits,
            (bytes) => new TfjsQueue(tf, bytes, limits),
            recipe,
            steps,
            () => marks.push(tf.memory().numTensors)
          )
          return tf.scalar(0)
        })
        ;(profile.result as tf.Tensor).dispose() // the scalar above
        const { losses, memory } = got!
        for (const [i, loss] of losses.entries()) {
          const off = Math.abs(loss - wanted.losses[i]!) / wanted.losses[i]!
          assert.ok(off <= 1e-4, `step ${i + 1}: loss ${loss}, the native backend's ${wanted.losses[i]}`)
        }
        assert.equal(new Set(marks.slice(1)).size, 1, `tensors after each step: ${marks}`) // the first step makes moments and gradients
        assert.equal(tf.memory().numTensors, before, "a closed queue leaves tensors")
        const share = memory.peakBytes / profile.peakBytes
        assert.ok(share > 0.9 && share < 1.1, `planned ${memory.peakBytes} bytes, taken ${profile.peakBytes}`)
        const foreign = profile.kernelNames.filter((kernel) => !nodeGpu.kernels.includes(kernel))
        assert.deepEqual(foreign, [], "kernels that tfjs-node-gpu has not")
      })
    )
  }
}

for (const backend of ["wasm", "cpu"]) {
  const limits = tfjsLimits(backend)
  const open = async (bytes: ReadonlyArray<number>) => {
    await tf.setBackend(backend)
    return new TfjsQueue(tf, bytes, limits)
  }
  for (const codebook of [nf4, fp4]) {
    for (const [scales, error] of [
      [plainScales, 0.167],
      [doubleQuant, 0.18]
    ] as const) {
      const name = `${codebook.name}, ${scales.name} scales`
      const shapes: ReadonlyArray<readonly [number, number]> = [
        [1, 1],
        [5, 7],
        [33, 64],
        [16, 130],
        [70, 192]
      ]
      testWeight(
        `tfjs ${backend}`,
        { limits, open },
        { name, codec: fourBitCodec(codebook, scales, 64), error, shapes }
      )
      test(`tfjs ${backend}: ${name}: the reference's bits, any row`, async () => {
        for (const block of [32, 64, 256] as const) {
          for (const [out, inner] of shapes) {
            const source = sourceOf("w", [out, inner], () => uniforms(out * inner, 7, block).map((u) => u - 0.5))
            const rowsOf = async (queue: Queue) => {
              const scope = new Scope(queue, "weights")
              const weight = fourBitCodec(codebook, scales, block).encode(source, scope, "w")
              const all = scope.tensor([out, inner], "W")
              weight.dequantizeRows(all, 0)
              const last = scope.tensor([1, inner], "the last row")
              weight.dequantizeRows(last, out - 1)
              const read = await Promise.all([...weight.storage, all, last].map((t) => queue.readBytes(t)))
              scope[Symbol.dispose]()
              await queue.close()
              return read
            }
            assert.deepEqual(
              await rowsOf(await open([1 << 22])),
              await rowsOf(new ReferenceQueue([1 << 22], { limits }))
            )
          }
        }
      })
    }
  }
}
