/** The native CPU backend as a layer: what `Reference.layer` is to tests, this is to users. */
import {
  Backend,
  type BadOptions,
  decodeOptions,
  Kernels,
  type Limits,
  makePart,
  OutOfMemory,
  oneArena,
  PositiveInt,
  type Queue
} from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { CpuQueue } from "./CpuQueue.ts"
import { loadNative, type NativeInfo } from "./native.ts"
import type { Profile } from "./Profile.ts"

const CpuOptions = Schema.Struct({
  /** Worker threads; left out: the cores that affinity and control group allow. */
  threads: Schema.optionalKey(PositiveInt),
  /** A lower instruction set than the machine's best, for comparisons: `info().isas` lists them. */
  isa: Schema.optionalKey(Schema.String),
  /** Keep a hash of each op's outputs: the flight recorder. */
  record: Schema.optionalKey(Schema.Boolean)
})
const decode = decodeOptions("Cpu", CpuOptions)

/** There is no native library for this machine, or it does not load. */
export class NativeUnavailable extends Schema.TaggedError<NativeUnavailable>()("NativeUnavailable", {
  message: Schema.String
}) {}

/** What a plan needs to know of this machine's backend. */
export const cpuLimits = (info: NativeInfo, threads: number): Limits => ({
  ...oneArena(`${info.model}, ${threads} thread${threads === 1 ? "" : "s"}`),
  fixedBytes: info.sharedScratchBytes + threads * info.scratchBytesPerThread
})

export const Cpu = {
  /** `profile` is told of every command of every queue that is opened. */
  layer: (
    options: typeof CpuOptions.Encoded = {},
    profile?: Profile
  ): Layer.Layer<Backend | Kernels, BadOptions | NativeUnavailable> =>
    Layer.merge(
      Layer.effect(
        Backend,
        Effect.gen(function* () {
          const decoded = yield* decode(options)
          const native = yield* Effect.try({
            try: loadNative,
            catch: (e) => new NativeUnavailable({ message: e instanceof Error ? e.message : String(e) })
          })
          const info = native.info()
          const threads = decoded.threads ?? info.cores
          const isa = decoded.isa ?? info.isa
          if (!info.isas.includes(isa)) {
            return yield* new NativeUnavailable({
              message: `this machine does not run ${isa}; it has ${info.isas.join(", ")}`
            })
          }
          const limits = cpuLimits(info, threads)
          return {
            part: yield* makePart(`backend-cpu (${isa}, ${threads} thread${threads === 1 ? "" : "s"})`),
            limits,
            multipliesBf16: isa.endsWith("bf16"),
            open: (arenaBytes: ReadonlyArray<number>) =>
              Effect.acquireRelease(
                Effect.suspend((): Effect.Effect<Queue, OutOfMemory> => {
                  const wantedBytes = limits.fixedBytes + arenaBytes.reduce((a, b) => a + b, 0)
                  return wantedBytes > info.memoryBytes
                    ? Effect.fail(
                        new OutOfMemory({ device: limits.device, wantedBytes, availableBytes: info.memoryBytes })
                      )
                    : Effect.sync(
                        () =>
                          new CpuQueue(native, arenaBytes, limits, {
                            threads,
                            isa,
                            record: decoded.record === true,
                            ...(profile === undefined ? {} : { profile })
                          })
                      )
                }),
                (queue) => Effect.promise(() => queue.close())
              )
          }
        })
      ),
      Kernels.layerComposed
    )
}
