/**
 * A model whose linears are quantised while it loads, from a file in which they lie quantised already: made once, kept in the
 * cache folder, and used by every later start with the same weights and format. The file is a folder as `graft quantize` writes
 * it, with `prepared.json` beside; a run that was killed as it made one goes on with its pieces. What comes of a run has the
 * same bits with the file and without.
 */
import { existsSync } from "node:fs"
import { readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import type { TensorFile } from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import {
  contentHashes,
  describeLlama,
  filesOf,
  LlamaConfig,
  type OpenError,
  type OpenedModel,
  openModel
} from "@graft/llama-loader"
import { type CheckpointSource, fp4, nf4, plainScales, quantizeCheckpoint } from "@graft/nf4-quant"
import { fileError, type Need } from "@graft/safetensors"
import { lockFolder } from "@graft/trainer"
import { Effect, Fiber, type Scope, Stream } from "effect"
import type { BackendInput, StorageInput } from "../flags/modelFlags.ts"
import { InvalidInput } from "../problems.ts"
import { cacheFolder } from "../rates/keptRates.ts"
import { bytes, duration } from "../show/quantities.ts"
import type { Screen } from "../show/Screen.ts"
import { backendLayer } from "../stack/backendLayer.ts"
import { checkpointSource } from "../stack/checkpointSource.ts"
import { quantizedSize, requireQuantizedSpace } from "../stack/quantizedSize.ts"
import { blockSizeOfFlag, skippedOf } from "../stack/weightStorage.ts"
import { PreparedError } from "./PreparedError.ts"
import {
  formatText,
  keyOf,
  type PreparedRecord,
  RECORD,
  readRecord,
  recordOf,
  sameStamps,
  VERSION,
  writeRecord
} from "./preparedRecord.ts"

/** Dense linears of fewer bytes are quantised at each start, which takes some two seconds at most. */
export const LEAST_BYTES = 1e9
const CONFIG = "config.json"
const WEIGHTS = "model.safetensors"
const WORK = ".quantizing"
const LOCK = ".lock"

export type PreparedInput = StorageInput & BackendInput & { readonly memory?: number | undefined }
/** A model, and the flags that go with it now. */
export interface Ready<I> {
  readonly model: OpenedModel
  readonly input: I
}
interface Found<I> extends Ready<I> {
  /** Nothing is to be prepared any more. */
  readonly isMade: boolean
  /** The file that a run would make. */
  readonly toMake?: Need
}
/** What is to be prepared, and where. */
interface Wanted {
  readonly source: CheckpointSource
  readonly record: PreparedRecord
  readonly folder: string
  /** The user named the folder. */
  readonly asked: boolean
  readonly bytes: number
}

/** Of a model of which only the shapes are known. */
const needOfShapes = (model: OpenedModel, input: PreparedInput): Need | undefined => {
  const { prepared, quantize, weightsMemory } = input
  if (quantize === undefined || model.config.quantization !== undefined || prepared === "off") return undefined
  const linears = linearsOf(model)
  const matrices = new Set(linears.map((path) => `${path}.weight`))
  const kept = model.tensors.names.filter((name) => !matrices.has(name))
  const size = quantizedSize({ tensors: model.tensors, linears, kept }, input)
  if (prepared === undefined && size.dense < LEAST_BYTES && weightsMemory === undefined) return undefined
  return needOf(prepared ?? join(cacheFolder(), "prepared"), size.quantized)
}
const needOf = (path: string, bytes: number): Need => ({ path, bytes, what: "the prepared file" })

/** Undefined where the weights are used as they lie, or quantised while loading. */
const wantedOf = Effect.fnUntraced(function* (model: OpenedModel, input: PreparedInput) {
  const { prepared, quantize } = input
  const asked = prepared !== undefined && prepared !== "off"
  const packed = model.tensors.names.some((name) => model.tensors.get(name)?.blocks !== undefined)
  if (quantize === undefined || model.config.quantization !== undefined || packed) {
    if (!asked) return undefined
    return yield* new InvalidInput({
      message: `--prepared ${prepared} is for the dense weights of a folder or of the Hub with --quantize; leave it out`
    })
  }
  if (prepared === "off" || filesOf(model.tensors).length === 0) return undefined
  const source = yield* checkpointSource(model, yield* skippedOf(model, input.skip))
  const size = quantizedSize(source, input)
  if (!asked && size.dense < LEAST_BYTES && input.weightsMemory === undefined) return undefined
  const ofLinears = new Set(source.linears)
  const record = yield* Effect.try({
    try: () =>
      recordOf(model, {
        codec: quantize,
        doubleQuant: input.doubleQuant,
        blockSize: input.blockSize ?? 64,
        skip: linearsOf(model).filter((path) => !ofLinears.has(path))
      }),
    catch: (cause) => fileError(model.path, "read", cause)
  })
  const folder = asked ? prepared : join(cacheFolder(), "prepared", keyOf(record))
  return { source, record, folder, asked, bytes: size.quantized } satisfies Wanted
})

const linearsOf = ({ config, path }: OpenedModel) => describeLlama(config, path).linears.map((one) => one.path)

/** Whether a folder holds the wanted file whole; a text says why it does not, or an error where nothing may be made there. */
const judge = Effect.fnUntraced(function* ({ folder, record, asked }: Wanted, model: OpenedModel) {
  const refuse = (reason: PreparedError["reason"], message: string) =>
    new PreparedError({
      path: folder,
      reason,
      message: `--prepared ${folder}: ${message}. Name another folder, or remove this one, and it is made anew`
    })
  const found = yield* Effect.promise(() => readRecord(folder))
  if (found === undefined) {
    const names = yield* Effect.promise(() => readdir(folder).catch(() => []))
    const foreign = names.find((name) => !ownNames.test(name))
    if (foreign !== undefined && asked)
      return yield* refuse("foreign", `it has no ${RECORD} and holds ${foreign}, which is no prepared file of Graft`)
    return { whole: false, keep: foreign === undefined }
  }
  const at = join(folder, RECORD)
  const problem = yield* Effect.gen(function* () {
    if (typeof found === "string") return refuse("damaged", `${at} cannot be read (${found})`)
    if (found.version !== VERSION)
      return refuse("version", `${at} is of version ${found.version}, and this Graft makes version ${VERSION}`)
    const [got, want] = [formatText(found.format), formatText(record.format)]
    if (got !== want) return refuse("format", `it was made as ${got}, and ${want} is asked for`)
    const other = (how: string) =>
      refuse("source", `it was made from ${found.source.path}, ${how} ${model.path}, which is asked for`)
    if (found.source.fingerprint !== record.source.fingerprint) return other("which has other weights than")
    if (sameStamps(found, record)) return undefined
    const { content } = found.source
    // A copy has another time of change; its content is looked at, which is quicker than quantising.
    const same =
      content !== undefined &&
      String(yield* Effect.promise(() => contentHashes(model).catch(() => []))) === String(content)
    if (!same) return other("whose files have another size, time or content than those of")
    yield* Effect.ignore(writeRecord(folder, { ...found, source: { ...record.source, content } }))
    return undefined
  })
  if (problem !== undefined) {
    if (asked) return yield* problem
    return { whole: false, keep: false }
  }
  return { whole: existsSync(join(folder, CONFIG)), keep: true }
})
/** What may lie in a folder in which a file is made. */
const ownNames = /^(?:\.lock|\.quantizing|\.lock\..*|.*\.part)$/

/** The source with its tensors from the prepared file. */
const readyOf = Effect.fnUntraced(function* <I extends PreparedInput>(wanted: Wanted, model: OpenedModel, input: I) {
  const { config, tensors } = yield* openModel(wanted.folder)
  const { quantization } = config
  if (quantization === undefined) return yield* damaged(wanted, `${join(wanted.folder, CONFIG)} says nothing of 4 bits`)
  const hashes = async (): Promise<ReadonlyArray<string>> => {
    const kept = await readRecord(wanted.folder)
    const content = typeof kept === "object" ? kept.source.content : undefined
    return content ?? contentHashes(model)
  }
  const prepared: OpenedModel = {
    ...model,
    config: new LlamaConfig({ ...model.config, quantization }),
    tensors,
    preparedFrom: { hashes }
  }
  return { model: prepared, input: { ...input, blockSize: undefined, skip: undefined } } satisfies Ready<I>
})
const damaged = ({ folder }: Wanted, problem: string) =>
  new PreparedError({
    path: folder,
    reason: "damaged",
    message: `--prepared ${folder}: the file is damaged: ${problem.replace(/\.$/, "")}. Remove the folder, and it is made anew`
  })

/** The model from its prepared file, where there is one already or none is wanted; else with what a plan needs. */
export const findPrepared = Effect.fnUntraced(function* <I extends PreparedInput>(
  model: OpenedModel,
  input: I,
  screen?: Screen
) {
  const wanted = yield* wantedOf(model, input)
  if (wanted === undefined) {
    const toMake = filesOf(model.tensors).length === 0 ? needOfShapes(model, input) : undefined
    return { model, input, isMade: true, ...(toMake === undefined ? {} : { toMake }) } satisfies Found<I>
  }
  const ready = yield* takeWhole(wanted, { model, input }, screen)
  if (ready !== undefined) return { ...ready, isMade: true } satisfies Found<I>
  // Only what lies in a file can stream: the one that will be made, which is planned by its shapes.
  const streams = input.weightsMemory !== undefined || input.memory !== undefined
  const planned = !streams ? model : { ...model, tensors: withoutFiles(model.tensors) }
  return { model: planned, input, isMade: false, toMake: needOf(wanted.folder, wanted.bytes) } satisfies Found<I>
})
const withoutFiles = (tensors: TensorFile): TensorFile => ({
  names: tensors.names,
  get: (name) => {
    const found = tensors.get(name)
    return found === undefined ? undefined : { name, shape: found.shape, dtype: found.dtype, read: found.read }
  }
})
const takeWhole = Effect.fnUntraced(function* <I extends PreparedInput>(
  wanted: Wanted,
  asIs: Ready<I>,
  screen: Screen | undefined
) {
  const { folder } = wanted
  const { whole } = yield* judge(wanted, asIs.model)
  if (!whole || existsSync(join(folder, WORK))) return undefined
  const ready = yield* opened(wanted, asIs)
  if (ready.model === asIs.model) return undefined
  // Of a process that was killed when all was made; one that lives keeps it.
  if (existsSync(join(folder, LOCK))) yield* Effect.ignore(Effect.scoped(lockFolder(folder)))
  screen?.say(`${screen.style.strong("loads")}  from the prepared file in ${folder}`)
  screen?.event({ event: "Prepared", path: folder, reused: true })
  return ready
})
/** A file of the cache that cannot be opened counts as none. */
const opened = <I extends PreparedInput>(wanted: Wanted, asIs: Ready<I>) => {
  const ready: Effect.Effect<Ready<I>, PreparedError | OpenError, Scope.Scope> = readyOf(wanted, asIs.model, asIs.input)
  return wanted.asked
    ? Effect.mapError(ready, (e) => (e._tag === "PreparedError" ? e : damaged(wanted, e.message)))
    : Effect.orElseSucceed(ready, () => asIs)
}

/** The model from its prepared file, which is made if there is none. */
export const usePrepared = Effect.fnUntraced(function* <I extends PreparedInput>(
  model: OpenedModel,
  input: I,
  screen?: Screen
) {
  const asIs: Ready<I> = { model, input }
  const wanted = yield* wantedOf(model, input)
  if (wanted === undefined) return asIs
  const found = yield* takeWhole(wanted, asIs, screen)
  if (found !== undefined) return found
  const made = yield* Effect.result(Effect.scoped(make(wanted, model, input, screen)))
  if (made._tag === "Success") return yield* opened(wanted, asIs)
  const problem = made.failure
  // The weights themselves are wrong: loading them would say the same.
  if (wanted.asked || input.weightsMemory !== undefined || problem._tag === "FourBitError") return yield* problem
  screen?.say(
    `  ${screen.style.warning("note")}: ${problem.message}. The weights are quantised while loading, and no prepared file is kept`
  )
  return asIs
})

/** Makes the file; who is here second finds it made, or is told who makes it. */
const make = Effect.fnUntraced(function* (
  wanted: Wanted,
  model: OpenedModel,
  input: PreparedInput,
  screen: Screen | undefined
) {
  const { folder, source, record } = wanted
  yield* requireQuantizedSpace(
    folder,
    wanted.bytes,
    "the prepared file",
    "make room, name a folder on another disk with --prepared, or go without it: --prepared off"
  )
  yield* lockOf(folder, screen)
  const removeAll = (keep: ReadonlyArray<string>) =>
    Effect.tryPromise({
      try: async () => {
        // Without its config a folder is no model, so that one goes first.
        const names = (await readdir(folder)).filter((name) => !keep.includes(name))
        for (const name of names.sort((a, b) => Number(b === CONFIG) - Number(a === CONFIG)))
          await rm(join(folder, name), { recursive: true, force: true })
      },
      catch: (cause) => fileError(folder, "write", cause)
    })
  const { whole, keep } = yield* judge(wanted, model)
  if (whole && (yield* Effect.isSuccess(Effect.scoped(openModel(folder))))) {
    return yield* Effect.tryPromise({
      try: () => rm(join(folder, WORK), { recursive: true, force: true }),
      catch: (cause) => fileError(folder, "write", cause)
    })
  }
  // Weights without a config and without pieces to go on with: a removal was killed.
  const rest = !existsSync(join(folder, WORK)) && existsSync(join(folder, WEIGHTS))
  if (whole || !keep || rest) yield* removeAll([LOCK])
  const since = performance.now()
  yield* writeRecord(folder, record)
  const { codec, doubleQuant: nested, blockSize } = record.format
  const format = {
    codebook: codec === "nf4" ? nf4 : fp4,
    scales: nested ? doubleQuant : plainScales,
    blockSize: yield* blockSizeOfFlag(blockSize),
    dtype: undefined
  }
  // Both read the same bytes in the same minute.
  const hashing = yield* Effect.forkScoped(
    Effect.tryPromise({ try: () => contentHashes(model), catch: (cause) => fileError(model.path, "read", cause) })
  )
  yield* Effect.provide(
    Stream.runForEach(quantizeCheckpoint({ ...source, files: [] }, folder, format), (event) =>
      Effect.sync(() => {
        if (event._tag === "Quantized") screen?.live(`preparing ${event.index + 1} of ${event.count}  ${event.path}`)
        if (event._tag === "Writing") screen?.live(`writing ${event.path}`)
      })
    ),
    backendLayer(input)
  )
  const content = yield* Fiber.join(hashing)
  yield* writeRecord(folder, { ...record, source: { ...record.source, content } })
  const seconds = (performance.now() - since) / 1000
  screen?.say(
    `${screen.style.strong("prepared")} in ${duration(seconds)}: ${bytes(wanted.bytes)}, kept in ${folder} for the next start`
  )
  screen?.event({ event: "Prepared", path: folder, reused: false, bytes: wanted.bytes, seconds })
})

/** Of two at once the second waits, and finds the file made. */
const lockOf = Effect.fnUntraced(function* (folder: string, screen: Screen | undefined) {
  for (let told = false; ; told = true) {
    const locked = yield* Effect.result(lockFolder(folder))
    if (locked._tag === "Success") return
    const { message } = locked.failure
    if (!existsSync(join(folder, LOCK))) return yield* new PreparedError({ path: folder, reason: "busy", message })
    if (!told) screen?.say(`waiting for another process that prepares ${folder}; it holds ${join(folder, LOCK)}`)
    yield* Effect.sleep(BETWEEN_LOOKS)
  }
})
/** Milliseconds. */
const BETWEEN_LOOKS = 200
