/**
 * TensorFlow.js beside the native CPU backend, kernel by kernel: training steps of the embedded model (4 layers of 256, vocabulary
 * 4096) with LoRA and with QLoRA, four documents of 64 tokens. Milliseconds of a step, the mean of those after the first. The
 * native backend runs its unfused ops on one thread, as WebAssembly and JavaScript do here.
 */
import { fileURLToPath } from "node:url"
import { CpuQueue, cpuLimits, loadNative, Profile } from "@graft/backend-cpu"
import { findTfjs, TfjsQueue, tfjsLimits } from "@graft/backend-tfjs"
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
  type WeightCodec
} from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { LlamaLoader } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { makeSession, planOf, type Recipe } from "@graft/trainer"
import { Effect, Layer } from "effect"

const TOKENS = 64
const model = fileURLToPath(new URL("../examples/quickstart/model", import.meta.url))
const documents: MicroBatch = [0, 1, 2, 3].map((sample) => {
  const ids = Array.from({ length: TOKENS }, (_, i) => (i * i * 31 + 17 * sample + 5) % 4096)
  return { sample, ids, targets: [...ids.slice(1), -1] }
})
const withRecipe = (codec: Layer.Layer<WeightCodec>, use: (recipe: Recipe) => Promise<void>): Promise<void> =>
  Effect.gen(function* () {
    const [{ load }, { plan: adapter }] = [yield* ModelLoader, yield* Adapter]
    const optimizer = adamW({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, groupFactors: {} })
    const rest = { overrides: new Map(), allReduce: () => {}, seed: 0, checkpointing: false, maxGradNorm: 1 }
    yield* Effect.promise(() => use({ load, adapter, optimizer, compute: "f32", ...rest }))
  }).pipe(
    Effect.provide(
      Lora.layer({ rank: 16, alpha: 16, targets: "all-linear" }).pipe(
        Layer.provideMerge(LlamaLoader.layer(model)),
        Layer.provide(codec),
        Layer.provideMerge(Reference.layer)
      )
    ),
    Effect.runPromise
  )

/** Milliseconds of a step by kernel, and of the whole, with the count of calls. */
interface Measured {
  readonly step: number
  readonly kernels: ReadonlyMap<string, { readonly calls: number; readonly milliseconds: number }>
}
type Record = (kernel: string, milliseconds: number) => void
type Open = (
  limits: Limits,
  arenaBytes: ReadonlyArray<number>,
  record: Record
) => { readonly queue: Queue; readonly collect: () => void }

const measure = async (limits: Limits, recipe: Recipe, steps: number, open: Open): Promise<Measured> => {
  const { memory } = planOf(limits, recipe, [documents])
  const kernels = new Map<string, { calls: number; milliseconds: number }>()
  const { queue, collect } = open(limits, memory.arenaBytes, (kernel, milliseconds) => {
    const known = kernels.get(kernel) ?? { calls: 0, milliseconds: 0 }
    known.calls += 1 / steps
    known.milliseconds += milliseconds / steps
    kernels.set(kernel, known)
  })
  const session = loadAtOnce(makeSession(queue, recipe))
  const step = async (n: number) => {
    session.step(n, [documents], 1e-3, () => {})
    await queue.idle()
  }
  await step(1)
  collect()
  kernels.clear()
  const from = performance.now()
  for (let n = 2; n < 2 + steps; n++) await step(n)
  const whole = (performance.now() - from) / steps
  collect()
  session[Symbol.dispose]()
  await queue.close()
  return { step: whole, kernels }
}

const native = loadNative()
const info = native.info()
const onCpu: Open = (limits, bytes, record) => {
  const profile = new Profile()
  const queue = new CpuQueue(native, bytes, limits, { threads: 1, isa: info.isa, profile })
  let seen = 0
  const collect = () => {
    const all = profile.collect()
    for (const { kernel, begin, end } of all.slice(seen)) record(kernel, 1000 * (end - begin))
    seen = all.length
  }
  return { queue, collect }
}

const { packages, best } = await Effect.runPromise(findTfjs())
if (best === undefined)
  throw new Error(`no TensorFlow.js package loads: ${packages.map(({ detail }) => detail).join("; ")}`)
const { tf } = best
console.log(
  `${info.model}, ${info.isa}, 1 thread; ${documents.length} documents of ${TOKENS} tokens; milliseconds of a step`
)
const codecs: Readonly<{ [name: string]: Layer.Layer<WeightCodec> }> = {
  LoRA: Dense.layer,
  "QLoRA, nf4, double-quant": Nf4.layer.pipe(Layer.provide(DoubleQuant.layer), Layer.orDie)
}
for (const [name, codec] of Object.entries(codecs)) {
  await withRecipe(codec, async (recipe) => {
    const cpu = await measure(cpuLimits(info, 1), recipe, 20, onCpu)
    const others: Array<readonly [string, Measured]> = []
    for (const { backend, loads } of packages) {
      if (!loads) continue
      await tf.setBackend(backend)
      const limits = tfjsLimits(backend)
      const open: Open = (_, bytes, record) => ({ queue: new TfjsQueue(tf, bytes, limits, record), collect: () => {} })
      others.push([backend, await measure(limits, recipe, backend === "cpu" ? 1 : 4, open)])
    }
    const row = (title: string, calls: string, milliseconds: (m: Measured) => number) => {
      const own = milliseconds(cpu)
      const cells = others.flatMap(([, m]) => [milliseconds(m).toFixed(1), `×${(milliseconds(m) / own).toFixed(0)}`])
      console.log(`| ${[title, calls, own.toFixed(2), ...cells].join(" | ")} |`)
    }
    const titles = others.flatMap(([backend]) => [`tfjs ${backend}`, ""])
    console.log(`\n| ${[name, "calls", "backend-cpu", ...titles].join(" | ")} |`)
    console.log(`| --- |${" ---: |".repeat(2 + titles.length)}`)
    const longest = [...others[0]![1].kernels].sort(([, a], [, b]) => b.milliseconds - a.milliseconds)
    for (const [kernel, { calls }] of longest)
      row(kernel, calls.toFixed(0), (m) => m.kernels.get(kernel)?.milliseconds ?? 0)
    row("a step", "", (m) => m.step)
  })
}
