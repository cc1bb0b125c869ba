/**
 * What 4 bits cost a model: for each format and weight its error against the source, and the model's loss on a text. Nothing
 * is written, and one weight at a time is unquantised.
 */
import { Backend, type MicroBatch, type SourceTensor } from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import type { OpenedModel } from "@graft/llama-loader"
import {
  type BlockSize,
  type FourBitFormat,
  fp4,
  nf4,
  plainScales,
  quantizeTensor,
  quantizingBytes,
  type WeightError,
  weightError
} from "@graft/nf4-quant"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"
import type { QuantizeInput } from "../flags/quantizeFlags.ts"
import type { Screen } from "../show/Screen.ts"
import { assemblyLayer } from "./assembly.ts"
import { backendLayer } from "./backendLayer.ts"
import { scoreBatches } from "./scoreBatches.ts"

export const reportedFormats = [
  { name: "NF4", codebook: nf4, scales: plainScales, flags: { quantize: "nf4", doubleQuant: false } },
  { name: "NF4 + DQ", codebook: nf4, scales: doubleQuant, flags: { quantize: "nf4", doubleQuant: true } },
  { name: "FP4", codebook: fp4, scales: plainScales, flags: { quantize: "fp4", doubleQuant: false } }
] as const

export interface ReportedWeight extends WeightError {
  readonly path: string
  readonly parameters: number
}
export interface FormatReport {
  readonly format: string
  readonly weights: ReadonlyArray<ReportedWeight>
}

type ReportInput = Pick<QuantizeInput, "backend" | "threads" | "isa" | "compute" | "dtype" | "skip">

export const errorsOfWeights = (
  screen: Screen,
  input: ReportInput,
  sources: ReadonlyArray<readonly [path: string, source: SourceTensor]>,
  blockSize: BlockSize
) =>
  Effect.gen(function* () {
    const backend = yield* Backend
    const reports: Array<FormatReport> = []
    for (const { name, codebook, scales } of reportedFormats) {
      const format: FourBitFormat = { codebook, scales, blockSize, dtype: input.dtype }
      const weights = sources.map(([, source]) => source)
      const measured = Effect.scoped(
        Effect.gen(function* () {
          const queue = yield* backend.open(quantizingBytes(backend.limits, weights, format))
          return yield* Effect.forEach(sources, ([path, source], i) =>
            Effect.gen(function* () {
              screen.live(`${name}: ${i + 1} of ${sources.length}, ${path}`)
              const saved = yield* quantizeTensor(queue, source, path, format)
              const error = yield* Effect.try({
                try: () => weightError(source, saved, format),
                catch: (cause) => fileError(path, "read", cause)
              })
              return { path, parameters: source.shape.reduce((a, b) => a * b, 1), ...error }
            })
          )
        })
      )
      reports.push({ format: name, weights: yield* measured })
    }
    screen.live("")
    return reports
  }).pipe(Effect.provide(backendLayer(input)))

export interface ModelLoss {
  readonly format: string
  /** Nats a token. */
  readonly loss: number
  readonly perplexity: number
}

/** The model unquantised and in each format on the same tokens. */
export const lossesOfModel = (
  screen: Screen,
  input: ReportInput,
  model: OpenedModel,
  blockSize: BlockSize,
  batches: ReadonlyArray<MicroBatch>
) =>
  Effect.forEach([{ name: "unquantised", flags: undefined }, ...reportedFormats], ({ name, flags }) =>
    Effect.gen(function* () {
      const { backend, threads, isa, compute, skip } = input
      const quantized = flags !== undefined
      const stack = {
        ...{ backend, threads, isa, compute, adapter: undefined, weights: undefined },
        quantize: flags?.quantize,
        doubleQuant: flags?.doubleQuant ?? false,
        blockSize: quantized ? blockSize : undefined,
        skip: quantized ? skip : undefined,
        prepared: undefined,
        rowScales: undefined,
        weightsMemory: undefined
      }
      const scored = yield* Effect.provide(scoreBatches(screen, input, batches), assemblyLayer(stack, model))
      const { meanLoss: loss, tokens, compute: used } = scored
      return { format: name, loss, perplexity: Math.exp(loss), tokens, compute: used }
    })
  )
