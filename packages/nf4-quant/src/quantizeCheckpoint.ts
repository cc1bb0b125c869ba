/**
 * Writes a model's folder with its linears in 4 bits, as transformers and bitsandbytes save and load it. Tensor by tensor:
 * each finished weight is a file of its own in a working folder inside, from which an interrupted run goes on; weights are put
 * together from these at the end, and config.json, without which a folder is no model, comes last.
 */
import { existsSync, statfsSync } from "node:fs"
import { readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import {
  Backend,
  type DType,
  type OutOfMemory,
  type Queue,
  type SourceTensor,
  sizeOf,
  type TensorFile
} from "@graft/core"
import {
  openSafetensors,
  replaceFile,
  type SafetensorsError,
  type TensorToWrite,
  writeSafetensors
} from "@graft/safetensors"
import { Data, Effect, Queue as EventQueue, Stream } from "effect"
import { FourBitError } from "./FourBitError.ts"
import { withQuantizationConfig } from "./quantizationConfig.ts"
import {
  type FourBitFormat,
  type QuantizeError,
  quantizeTensor,
  quantizingBytes,
  torchNames
} from "./quantizeTensor.ts"
import { bytesInParts } from "./sliceOfSource.ts"
import { CONFIG, fileStep, openWorkFolder, WEIGHTS } from "./workFolder.ts"

export interface CheckpointSource {
  readonly tensors: TensorFile
  /** Paths of the linears that are quantised. */
  readonly linears: ReadonlyArray<string>
  /** Names of the other tensors, which are written as they are. */
  readonly kept: ReadonlyArray<string>
  /** config.json as a text. */
  readonly config: string
  /** Modules that a reader has to know are not quantised; none where they are those that transformers leaves by itself. */
  readonly skippedModules: ReadonlyArray<string>
  /** Other files of the folder, by their name there: the tokenizer's. */
  readonly files: ReadonlyArray<{ readonly name: string; readonly path: string }>
  /** Names the weights, so that a run goes on with the same. */
  readonly fingerprint: string
}

export type CheckpointEvent = Data.TaggedEnum<{
  /** `parameters` are those of the linears. */
  readonly Plan: { readonly linears: number; readonly parameters: number; readonly arenaBytes: number }
  /** `reused`: an earlier run had made it. `bytes` without tables and texts. */
  readonly Quantized: {
    readonly path: string
    readonly parameters: number
    readonly bytes: number
    readonly reused: boolean
    readonly index: number
    readonly count: number
  }
  /** The weights are put together. */
  readonly Writing: { readonly path: string; readonly bytes: number }
  readonly Done: { readonly path: string; readonly bitsPerParameter: number }
}>
export const CheckpointEvent = Data.taggedEnum<CheckpointEvent>()

export type CheckpointError = QuantizeError | OutOfMemory | SafetensorsError

/** A tensor of a piece, read from its file when its turn comes. */
const ofPiece = (file: string, offset: number, tensor: Omit<TensorToWrite, "read">, bytes: number): TensorToWrite => ({
  ...tensor,
  read: () =>
    bytesInParts({ name: tensor.name, shape: [bytes], dtype: "u8", read: unread, file: { path: file, offset, bytes } })
})
/** The same tensors; their file goes once all of them were read: where the disk has no room for the weights twice. */
const removedWhenRead = (file: string, tensors: ReadonlyArray<TensorToWrite>): ReadonlyArray<TensorToWrite> => {
  let unread = tensors.length
  return tensors.map((tensor) => ({
    ...tensor,
    read: async function* () {
      yield* tensor.read() as AsyncIterable<Uint8Array> // bytesInParts, above
      if (--unread === 0) await rm(file, { force: true })
    }
  }))
}
const hasRoom = (folder: string, bytes: number): boolean => {
  const { bavail, bsize } = statfsSync(folder)
  return Number(bavail) * Number(bsize) > 1.05 * bytes
}
const unread = (): never => {
  throw new TypeError("internal: a piece is read by its file")
}

export const quantizeCheckpoint = (
  source: CheckpointSource,
  out: string,
  format: FourBitFormat
): Stream.Stream<CheckpointEvent, CheckpointError, Backend> =>
  Stream.callback<CheckpointEvent, CheckpointError, Backend>((events) => {
    const emit = (event: CheckpointEvent) => Effect.asVoid(EventQueue.offer(events, event))
    return Effect.scoped(write(source, out, format, emit)).pipe(
      Effect.andThen(EventQueue.end(events)),
      Effect.catch((e: CheckpointError) => EventQueue.fail(events, e))
    )
  })

const write = Effect.fnUntraced(function* (
  source: CheckpointSource,
  out: string,
  format: FourBitFormat,
  emit: (event: CheckpointEvent) => Effect.Effect<void>
) {
  const { linears, kept } = source
  const find = (name: string): Effect.Effect<SourceTensor, FourBitError> => {
    const tensor = source.tensors.get(name)
    return tensor === undefined
      ? Effect.fail(new FourBitError({ path: name, problem: "is not in the model" }))
      : Effect.succeed(tensor)
  }
  const weights = yield* Effect.forEach(linears, (path) => find(`${path}.weight`))
  const others = yield* Effect.forEach(kept, find)
  const [first] = weights
  if (first === undefined) return yield* new FourBitError({ path: out, problem: "the model has no linear to quantise" })
  const config = yield* configText(source, format, first.dtype)

  const backend = yield* Backend
  const arenas = quantizingBytes(backend.limits, weights, format)
  const parameters = weights.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const arenaBytes = arenas.reduce((a, b) => a + b, 0)
  const work = yield* openWorkFolder(out, planText(source, format))
  yield* emit(CheckpointEvent.Plan({ linears: linears.length, parameters, arenaBytes }))

  const queue: Queue = yield* backend.open(arenas)
  const pieces: Array<readonly [file: string, tensors: ReadonlyArray<TensorToWrite>]> = []
  let bytes = 0
  for (const [index, path] of linears.entries()) {
    const piece = work.piece(index)
    const reused = work.done || existsSync(piece)
    if (!reused) {
      const saved = yield* quantizeTensor(queue, weights[index]!, path, format)
      yield* writeSafetensors(piece, saved.tensors)
    }
    const tensors = yield* tensorsOf(work.done ? join(out, WEIGHTS) : piece, path)
    pieces.push([piece, tensors.list])
    bytes += tensors.bytes
    const event = { path, parameters: sizeOf(weights[index]!.shape), bytes: tensors.bytes }
    yield* emit(CheckpointEvent.Quantized({ ...event, reused, index, count: linears.length }))
  }
  if (!work.done) {
    const kept = others.map((tensor) => asItIs(tensor, format.dtype))
    const whole = bytes + others.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0)
    const twice = hasRoom(out, whole)
    // A run that is interrupted here makes what has gone anew.
    const all = [...pieces.flatMap(([file, list]) => (twice ? list : removedWhenRead(file, list))), ...kept]
    yield* emit(CheckpointEvent.Writing({ path: join(out, WEIGHTS), bytes }))
    yield* writeSafetensors(join(out, WEIGHTS), all, { keepHash: true })
    for (const { name, path } of source.files) {
      const content = yield* fileStep(path, () => readFile(path))
      yield* replaceFile(join(out, name), [content])
    }
    yield* replaceFile(join(out, CONFIG), [new TextEncoder().encode(config)])
  }
  yield* work.clear
  yield* emit(CheckpointEvent.Done({ path: out, bitsPerParameter: (8 * bytes) / parameters }))
})

const configText = (
  { config, skippedModules }: CheckpointSource,
  { codebook, scales, dtype }: FourBitFormat,
  stored: DType
): Effect.Effect<string, FourBitError> =>
  Effect.try({
    try: () =>
      withQuantizationConfig(config, {
        codebook: codebook.name,
        doubleQuantization: scales.storageCount > 1,
        computeDtype: torchNames[dtype ?? stored] ?? "float32",
        ...(dtype === undefined ? {} : { dtype: torchNames[dtype] }),
        skippedModules
      }),
    catch: (cause) =>
      new FourBitError({ path: CONFIG, problem: cause instanceof Error ? cause.message : String(cause) })
  })

/** What a run must have in common with the one that it goes on from. */
const planText = ({ fingerprint, linears, kept }: CheckpointSource, format: FourBitFormat): string => {
  const { codebook, scales, blockSize, dtype } = format
  return JSON.stringify({
    version: 1,
    fingerprint,
    codebook: codebook.name,
    scales: scales.name,
    blockSize,
    dtype,
    linears,
    kept
  })
}

/** The tensors of the linear `path` in a safetensors file, to be read when they are written. */
const tensorsOf = (file: string, path: string) =>
  Effect.scoped(
    Effect.map(openSafetensors(file), ({ tensors }) => {
      const mine = [...tensors.values()].filter(({ name }) => name.startsWith(`${path}.weight`))
      const counted = mine.filter(({ name }) => /\.(?:weight|absmax|nested_absmax)$/.test(name))
      const offset = mine.some(({ name }) => name.endsWith(".nested_absmax")) ? 4 : 0
      return {
        list: mine.map(({ name, dtype, shape, offset, bytes }) => ofPiece(file, offset, { name, dtype, shape }, bytes)),
        bytes: counted.reduce((sum, { bytes }) => sum + bytes, offset)
      }
    })
  )

const asItIs = (tensor: SourceTensor, dtype: DType | undefined): TensorToWrite => {
  const target = dtype !== undefined && torchNames[tensor.dtype] !== undefined ? dtype : tensor.dtype
  return { name: tensor.name, shape: tensor.shape, dtype: target, read: () => bytesInParts(tensor, target) }
}
