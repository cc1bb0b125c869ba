/**
 * What streaming of weights reaches of the disk: passes of one token through a prepared model under the smallest budget of
 * weights, where arithmetic is little and all layers are read, beside direct reading of the same file by dd in the same
 * minute. `--model=FOLDER`, as `graft quantize` or `graft synth --quantize nf4` writes it (double quantization);
 * `--passes=N` (3).
 */
import { execFileSync } from "node:child_process"
import { parseArgs } from "node:util"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { loadAtOnce, MetaQueue, ModelLoader, Scope } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { LlamaLoader, makeDecoder } from "@graft/llama-loader"
import { Nf4 } from "@graft/nf4-quant"
import { WeightStream, WeightStreamError } from "@graft/weight-stream"
import { Effect, Layer } from "effect"
import { figureLines } from "./measure/lines.ts"

const { values } = parseArgs({
  options: { model: { type: "string", default: "" }, passes: { type: "string", default: "3" } },
  allowPositionals: true
})
const passes = Number(values.passes)

/** A loader under a budget, while the effect runs. */
const under = <A>(memoryBytes: number, use: (loader: ModelLoader["Service"]) => Effect.Effect<A>) =>
  Effect.scoped(
    Effect.flatMap(ModelLoader, use).pipe(
      Effect.provide(
        WeightStream.layer(LlamaLoader.layer(values.model), { memoryBytes }).pipe(
          Layer.provide(Nf4.layer),
          Layer.provide(DoubleQuant.layer)
        )
      )
    )
  )
const timed = async (run: () => Promise<void>): Promise<number> => {
  const since = performance.now()
  await run()
  return (performance.now() - since) / 1000
}

const measure = async ({ load }: ModelLoader["Service"]): Promise<void> => {
  const native = loadNative()
  const { isa } = native.info()
  const threads = 2
  const limits = cpuLimits(native.info(), threads)
  const program = (queue: MetaQueue | CpuQueue) => {
    const model = loadAtOnce(load(queue, new Scope(queue, "weights"), () => false))
    return { model, decoder: makeDecoder(queue, model, { compute: "f32", overrides: new Map(), capacity: passes + 1 }) }
  }
  const meta = new MetaQueue(limits)
  program(meta)
    .decoder.feed([1])
    .catch(() => {}) // it has no values
  const queue = new CpuQueue(native, meta.plan.arenaBytes, limits, { threads, isa })
  const { model, decoder } = program(queue)
  let read = 0
  const count = async () => {
    read = (await model.traffic!()).bytesIn
  }
  await decoder.feed([1])
  await count()
  let [seconds, bytes, stalled] = [0, 0, 0]
  for (let pass = 0; pass < passes; pass++) {
    seconds += await timed(async () => void (await decoder.feed([pass])))
    const { bytesIn, stallSeconds } = await model.traffic!()
    bytes += bytesIn
    stalled += stallSeconds
  }
  await queue.close()
  const file = `${values.model}/model.safetensors`
  const megabytes = Math.ceil(Math.min(bytes / passes, 4e9) / 2 ** 22)
  const byDd = await timed(async () => {
    execFileSync("dd", [`if=${file}`, "of=/dev/null", "bs=4M", `count=${megabytes}`, "iflag=direct"], {
      stdio: "ignore"
    })
  })
  const disk = (megabytes * 2 ** 22) / byDd
  const figures = figureLines("stream")
  const rate = bytes / seconds
  const note = `${(stalled / passes).toFixed(2)} s a pass stalled, ${(read / 1e9).toFixed(2)} GB before the first`
  figures.add({
    threads,
    what: "weights of one token",
    value: rate,
    unit: "GB/s",
    digits: 2,
    share: rate / disk,
    of: "dd",
    note
  })
  figures.add({ threads, what: "dd, direct, 4 MiB at a time", value: disk, unit: "GB/s", digits: 2 })
  figures.write()
}

if (values.model === "")
  console.error("bench stream: --model=FOLDER is missing, a prepared model with double quantization")
else {
  const least = await Effect.runPromise(Effect.flip(under(1, () => Effect.void)))
  if (!(least instanceof WeightStreamError) || least.smallest === undefined) throw least
  await Effect.runPromise(under(least.smallest, (loader) => Effect.promise(() => measure(loader))))
}
