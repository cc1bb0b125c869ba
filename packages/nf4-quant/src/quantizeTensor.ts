/**
 * One weight to the tensors of a bitsandbytes checkpoint, part by part: on the device are a slice of the source, its codes
 * and scales; in host memory the codes, a quarter of a bf16 source. The bits are those of the whole at once, since blocks do
 * not meet.
 */
import {
  DeviceError,
  DeviceFault,
  MetaQueue,
  type Queue,
  type ScaleFormat,
  Scope,
  type SourceTensor,
  sizeOf,
  sourceOf,
  type Tensor,
  type View,
  widen
} from "@graft/core"
import { FileError, type TensorToWrite } from "@graft/safetensors"
import { Effect } from "effect"
import type { BlockSize, Codebook } from "./codebooks.ts"
import { FourBitError } from "./FourBitError.ts"
import { fourBitLibrary } from "./fourBitLibrary.ts"
import { nameTensor, quantizeKernels } from "./quantize4bit.ts"
import { quantStateBytes, quantStateName } from "./quantState.ts"
import { SLICE, slicesOf } from "./sliceOfSource.ts"

export interface FourBitFormat {
  readonly codebook: Codebook
  readonly scales: ScaleFormat
  readonly blockSize: BlockSize
  /** The weight is rounded to this first, and its state says so; left out: as the source is. */
  readonly dtype?: "f32" | "bf16" | "f16" | undefined
}
export interface SavedWeight {
  /** `path.weight` and what stands beside it. */
  readonly tensors: ReadonlyArray<TensorToWrite>
  /** Two a byte, in parts of SLICE elements. */
  readonly codes: ReadonlyArray<Uint8Array>
  /** The storage of its scales, as its format reads it. */
  readonly scales: ReadonlyArray<View>
  /** Of weight and scales, tables and texts not counted. */
  readonly bytes: number
}
/** As torch calls them. */
export const torchNames: Readonly<Record<string, string>> = { f32: "float32", bf16: "bfloat16", f16: "float16" }

const enqueueSlice = (scope: Scope, path: string, columns: number, part: SourceTensor, format: FourBitFormat) => {
  const [count = 0] = part.shape
  const x = scope.tensor([count], `${path} (${part.dtype})`, part.dtype)
  const packed = scope.tensor([Math.ceil(count / 2)], path, "u8")
  const absmax = scope.tensor([Math.ceil(count / format.blockSize)], `${path} scales`)
  scope.queue.uploadSource(x, part)
  const name = nameTensor(scope.queue, scope, path)
  const { blockSize: block, codebook } = format
  scope.queue.enqueue(quantizeKernels[codebook.name], [packed, absmax, x, name], { block, columns })
  return { packed, absmax }
}
const enqueueScales = (scope: Scope, path: string, count: number, scales: ScaleFormat, absmax: () => Uint8Array) => {
  const all = scope.tensor([count], `${path} scales`)
  scope.queue.upload(all, absmax)
  return scales.encode(all, scope, path)
}

/** What a queue needs to quantise these weights one after the other. */
export const quantizingBytes = (
  limits: Queue["limits"],
  sources: ReadonlyArray<SourceTensor>,
  format: FourBitFormat
): ReadonlyArray<number> => {
  const queue = new MetaQueue(limits)
  for (const { name, shape, dtype } of sources) {
    const size = sizeOf(shape)
    {
      using scope = new Scope(queue, "workspace")
      const part = sourceOf(name, [Math.min(SLICE, size)], () => [], format.dtype ?? dtype)
      enqueueSlice(scope, name, shape[1] ?? 1, part, format)
    }
    using scope = new Scope(queue, "workspace")
    enqueueScales(scope, name, Math.ceil(size / format.blockSize), format.scales, () => new Uint8Array(0))
  }
  return queue.plan.arenaBytes
}

export type QuantizeError = FourBitError | DeviceError | FileError

const read = (queue: Queue, path: string, t: Tensor): Effect.Effect<Uint8Array, QuantizeError> =>
  Effect.tryPromise({
    try: () => queue.readBytes(t),
    catch: (cause) => {
      const place = cause instanceof DeviceFault ? cause.message.split(`: ${path} `)[1] : undefined
      return place === undefined ? DeviceError.from(cause) : new FourBitError({ path, problem: place })
    }
  })

const unreadable = (path: string, cause: unknown): FourBitError | FileError =>
  cause instanceof FileError
    ? cause
    : new FourBitError({ path, problem: `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}` })

/** Temporaries of one part; released on interruption too. */
const inScope = <A, E>(queue: Queue, body: (scope: Scope) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Scope(queue, "workspace")),
    body,
    (scope) => Effect.sync(() => scope[Symbol.dispose]())
  )

/** `source` as the weight `path` [out, in] of a checkpoint. A value that is not finite is a FourBitError with its place. */
export const quantizeTensor = (
  queue: Queue,
  source: SourceTensor,
  path: string,
  format: FourBitFormat
): Effect.Effect<SavedWeight, QuantizeError> =>
  Effect.gen(function* () {
    const { codebook, scales, blockSize } = format
    const fail = (problem: string) => Effect.fail(new FourBitError({ path, problem }))
    const [out, inner] = source.shape
    const dtype = torchNames[format.dtype ?? source.dtype]
    if (source.shape.length !== 2 || out === undefined || inner === undefined)
      return yield* fail(`a linear's weight is [out, in], got [${source.shape}]`)
    if (dtype === undefined || torchNames[source.dtype] === undefined)
      return yield* fail(`is ${source.dtype}, wanted f32, bf16 or f16`)
    if (scales.save === undefined) return yield* fail(`${scales.name} scales have no place in a checkpoint`)
    queue.useLibrary(fourBitLibrary)

    const size = out * inner
    const slice = slicesOf(source, format.dtype)
    const codes: Array<Uint8Array> = []
    const absmax = new Uint8Array(4 * Math.ceil(size / blockSize))
    for (let first = 0; first < size; first += SLICE) {
      yield* inScope(queue, (scope) =>
        Effect.gen(function* () {
          const part = yield* Effect.try({
            try: () => enqueueSlice(scope, path, inner, slice(first, Math.min(SLICE, size - first)), format),
            catch: (cause) => unreadable(path, cause)
          })
          codes.push(yield* read(queue, path, part.packed))
          absmax.set(yield* read(queue, path, part.absmax), (4 * first) / blockSize)
        })
      )
    }
    const kept = yield* inScope(queue, (scope) =>
      Effect.forEach(
        enqueueScales(scope, path, absmax.byteLength / 4, scales, () => absmax),
        (t) => Effect.map(read(queue, path, t), (bytes) => ({ bytes, dtype: t.dtype }))
      )
    )
    const weight = `${path}.weight`
    const [tensors, nested] = scales.save(
      kept.map(({ bytes }) => bytes),
      weight
    )
    const shape = [out, inner]
    const state = quantStateBytes({ quant_type: codebook.name, blocksize: blockSize, dtype, shape, ...nested })
    return {
      tensors: [
        { name: weight, dtype: "u8", shape: [Math.ceil(size / 2), 1], read: () => codes },
        sourceOf(`${weight}.quant_map`, [codebook.values.length], () => codebook.values),
        ...tensors,
        { name: quantStateName(path, codebook.name), dtype: "u8", shape: [state.byteLength], read: () => state }
      ],
      codes,
      scales: kept.map(({ bytes, dtype }) => (dtype === "u8" ? bytes : widen(bytes, dtype))),
      bytes: Math.ceil(size / 2) + kept.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    }
  })
