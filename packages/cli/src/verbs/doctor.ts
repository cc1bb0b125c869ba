/** `graft doctor`: the machine, what it measures, and which backends would load. */
import { cpus, release } from "node:os"
import { Cpu, loadNative, type Native, nativePath } from "@graft/backend-cpu"
import { findTfjs } from "@graft/backend-tfjs"
import { Backend } from "@graft/core"
import { fileError } from "@graft/safetensors"
import { Effect, Layer } from "effect"
import type { DoctorInput } from "../commands/doctor.ts"
import { cacheFolder, keepRates, type Machine, type Rates } from "../rates/keptRates.ts"
import { measureDisk } from "../rates/measureDisk.ts"
import { bytes } from "../show/quantities.ts"
import { runtimeName } from "../show/runtimeName.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { table } from "../show/table.ts"
import { type GemmShape, measureGemm } from "../stack/measureGemm.ts"
import { peakKind } from "../stack/peakKind.ts"
import { version } from "../version.ts"

/** A row of a 7-billion Llama's attention and of its MLP, 512 tokens. */
const SHAPES: ReadonlyArray<GemmShape> = [
  { tokens: 512, in: 4096, out: 4096 },
  { tokens: 512, in: 4096, out: 11008 }
]
const MILLISECONDS = 150

export const doctor = Effect.fnUntraced(function* (input: DoctorInput) {
  const screen = makeScreen(input.json)
  const loaded = yield* Effect.result(
    Effect.try({ try: loadNative, catch: (e) => (e instanceof Error ? e.message : String(e)) })
  )
  const native = loaded._tag === "Success" ? loaded.success : undefined
  const info = native?.info()
  const facts = {
    graft: version(),
    runtime: runtimeName(),
    system: `${process.platform}-${process.arch} ${release()}`,
    processor: info?.model ?? cpus()[0]?.model ?? "unknown",
    cores: info?.cores ?? cpus().length,
    memoryBytes: info?.memoryBytes ?? null,
    isa: input.isa ?? info?.isa ?? null,
    isas: info?.isas ?? []
  }
  const tfjs = yield* findTfjs()
  const backends = [
    loaded._tag === "Success"
      ? { backend: "cpu", loads: true, detail: `native library ${nativePath()}` }
      : { backend: "cpu", loads: false, detail: loaded.failure },
    {
      backend: "tfjs",
      loads: tfjs.best !== undefined,
      detail: tfjs.best === undefined ? "no TensorFlow.js package loads" : `${tfjs.best.backend} by ${tfjs.best.name}`
    },
    { backend: "reference", loads: true, detail: "TypeScript, slow, runs anywhere" }
  ]
  const { style } = screen
  screen.say(`graft ${facts.graft} on ${facts.runtime}, ${facts.system}`)
  screen.say(
    `${facts.processor}: ${facts.cores} cores for this process${facts.memoryBytes === null ? "" : `, ${bytes(facts.memoryBytes)} of memory`}`
  )
  if (info !== undefined) screen.say(`instruction sets: ${info.isas.join(", ")}; used: ${facts.isa}`)
  for (const { backend, loads, detail } of backends) {
    screen.say(`backend ${backend}: ${loads ? style.good("loads") : style.bad("does not load")}, ${detail}`)
    if (backend !== "tfjs") continue
    for (const one of tfjs.packages) screen.say(`  ${one.name}: ${one.loads ? one.detail : style.faint(one.detail)}`)
  }
  screen.event({ event: "Machine", ...facts, backends, tfjs: tfjs.packages })
  if (native !== undefined && !input.quick) yield* measure(screen, native, input)
})

/** What a plan tells time from. */
const keep = Effect.fnUntraced(function* (screen: Screen, machine: Machine, rates: Omit<Rates, "measured">) {
  const path = yield* keepRates(machine, rates)
  screen.say(`  kept in ${path}: graft plan tells time from them`)
  screen.event({ event: "Kept", path, ...machine, ...rates })
})

const gflops = (perSecond: number): string => (perSecond / 1e9).toFixed(1)

const measure = Effect.fnUntraced(function* (screen: Screen, native: Native, { threads, isa }: DoctorInput) {
  const info = native.info()
  const used = isa ?? info.isa
  const all = threads ?? info.cores
  const settle = Effect.sleep(0) // the measurements block: let the lines out first

  const peaks: { f32?: number; bf16?: number } = {}
  const products: { f32?: number; bf16?: number } = {}
  for (const format of ["f32", "bf16"] as const) {
    const kind = peakKind(native, format, used)
    if (kind === undefined) continue
    yield* settle
    const [one, many] = [native.peak(kind, 1, MILLISECONDS), native.peak(kind, all, MILLISECONDS)]
    screen.say(`peak ${format} in registers: ${gflops(one)} GFLOP/s on 1 thread, ${gflops(many)} on ${all}`)
    peaks[format] = many
    screen.event({ event: "Peak", kind, threads: all, one, all: many })
  }
  yield* settle
  const { read, copy } = native.bandwidth(all, MILLISECONDS)
  screen.say(`memory: reads ${bytes(read)}/s, copies ${bytes(copy)}/s (reads and writes), ${all} threads`)
  screen.event({ event: "Bandwidth", threads: all, read, copy })
  yield* settle
  const disk = yield* Effect.try({
    try: () => measureDisk(cacheFolder()),
    catch: (cause) => fileError(cacheFolder(), "write", cause)
  })
  screen.say(`disk: ${disk === undefined ? "not measured" : `reads ${bytes(disk)}/s`} in ${cacheFolder()}`)
  screen.event({ event: "Disk", folder: cacheFolder(), read: disk ?? null })

  const layer = Cpu.layer({ threads: all, isa: used })
  const backend = yield* Effect.scoped(Effect.flatMap(Layer.build(layer), (c) => Effect.provideContext(Backend, c)))
  const rows: Array<ReadonlyArray<string>> = [["multiply", "format", "GFLOP/s", "of the peak beside it"]]
  for (const format of ["f32", "bf16"] as const) {
    // Where bf16 is not multiplied, it is widened, and f32's peak is the ceiling.
    const own = peakKind(native, format, used)
    const kind = own ?? peakKind(native, "f32", used) ?? "f32.scalar"
    let secondsPerOperation = 0
    for (const shape of SHAPES) {
      const { rate, peak } = yield* measureGemm(backend, shape, format, () => native.peak(kind, all, MILLISECONDS))
      const share = rate / peak
      secondsPerOperation += 1 / rate / SHAPES.length
      const name = `[${shape.tokens}, ${shape.in}] × [${shape.in}, ${shape.out}]`
      rows.push([
        name,
        format,
        gflops(rate),
        `${(100 * share).toFixed(0)} % of ${gflops(peak)}${own === undefined ? " (f32's)" : ""}`
      ])
      screen.event({ event: "Gemm", ...shape, format, rate, peak, peakKind: kind, share })
      screen.live(`${name} ${format}`)
    }
    products[format] = 1 / secondsPerOperation
  }
  screen.say(table(rows))
  const machine = { processor: info.model, isa: used, threads: all }
  yield* keep(screen, machine, { peak: peaks, products, memory: read, ...(disk === undefined ? {} : { disk }) })
})
