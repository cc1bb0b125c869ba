/**
 * From files to batches: reads, encodes and checks all rows, sets rows apart for evaluation, packs, and gives the batches of
 * any step.
 */
import { createHash } from "node:crypto"
import { availableParallelism } from "node:os"
import type { BadOptions } from "@graft/core"
import { Effect, type Scope } from "effect"
import { type BatchSchedule, batchSchedule, type Units, unitsOfRows } from "./BatchSchedule.ts"
import { type DataError, isDataError, SequenceBeyondPositions, UnfitData } from "./DataError.ts"
import { type DataModel, stopIdsOf } from "./DataModel.ts"
import type { DataReport } from "./DataReport.ts"
import type { MicroBatch } from "./Document.ts"
import { type EncodeOptions, rowEncoder } from "./encodeRow.ts"
import { encodingPool } from "./encodingPool.ts"
import type { Place } from "./Place.ts"
import { packRows } from "./packRows.ts"
import { range } from "./range.ts"
import { type ReadData, readData } from "./readData.ts"
import { decodeColumns, decodeSftOptions, type SftOptions } from "./SftOptions.ts"
import { splitRows } from "./splitRows.ts"
import { templateNames } from "./templates.ts"

/** The lengths of a micro-batch's documents: with their number and sum, all that its memory depends on. */
export type BatchShape = ReadonlyArray<number>

export interface PreparedData {
  /** Sequences trained on in an epoch. */
  readonly rows: number
  readonly stepsPerEpoch: number
  /** The micro-batches of optimiser step `step`, from 1: a function of the seed and the step. */
  readonly batches: (step: number) => ReadonlyArray<MicroBatch>
  /** The held-out rows, in micro-batches of the same size and in the data's order. */
  readonly evaluation: ReadonlyArray<MicroBatch>
  /** The distinct shapes of micro-batches in steps 1 … steps, one of each (documents, tokens). */
  readonly shapes: (steps: number) => ReadonlyArray<BatchShape>
  /** Of everything that decides the batches: equal fingerprints give equal batches. */
  readonly fingerprint: string
  readonly report: DataReport
  /** Where the row of `Document.sample` was read. */
  readonly placeOf: (sample: number) => Place
  /** The row of `Document.sample`: its tokens, and whether each is learnt. */
  readonly tokensOf: (sample: number) => {
    readonly ids: ReadonlyArray<number>
    readonly supervised: ReadonlyArray<boolean>
  }
}

const defaultMaxLength = 1024 // TRL's
/** Fewer rows are encoded before threads would stand. */
const ROWS_HERE = 8192
/** One thread reads and keeps what so many encode. */
const MOST_WORKERS = 8

/** Options are `SftOptions`, not yet decoded. The scope holds the temporary file of tokens, where one is needed. */
export const prepareData = Effect.fnUntraced(function* (
  given: unknown,
  model: DataModel
): Effect.fn.Return<PreparedData, DataError | BadOptions, Scope.Scope> {
  const options = yield* decodeSftOptions(given)
  const columns = yield* decodeColumns(options.columns)
  if (options.maxLength !== undefined && options.maxLength > model.positions) {
    return yield* new SequenceBeyondPositions({ place: null, tokens: options.maxLength, positions: model.positions })
  }
  const maxLength = options.maxLength ?? Math.min(defaultMaxLength, model.positions)
  const encoding: EncodeOptions = {
    maxLength,
    maxLengthGiven: options.maxLength !== undefined,
    lossOn: options.lossOn,
    responses:
      options.responsePart === undefined ? undefined : { from: options.responsePart, to: options.questionPart },
    templateNames
  }
  const { again, vocabularySize, positions } = model
  const threads = options.workers ?? Math.min(MOST_WORKERS, availableParallelism())
  const startPool = async () =>
    again === undefined || threads === 0
      ? undefined
      : encodingPool(threads, {
          again,
          sizes: { vocabularySize, positions },
          encoding,
          columns,
          stopIds: stopIdsOf(model)
        })
  const read = yield* Effect.acquireRelease(
    tryData((signal) =>
      readData(
        sourcesOf(options.data).map(({ path }) => path),
        listOf(options.evaluationData ?? []),
        rowEncoder(model, encoding),
        {
          columns,
          longText: options.longText,
          memoryBytes: options.memoryBytes,
          stopIds: new Set(stopIdsOf(model)),
          startPool,
          rowsHere: ROWS_HERE
        },
        signal
      )
    ),
    ({ store }) => Effect.sync(() => store[Symbol.dispose]()),
    { interruptible: true }
  )
  const unfit = read.findings
    .build()
    .filter(({ code, severity }) => severity === "error" && !options.allow.includes(code))
  if (unfit.length > 0) {
    return yield* new UnfitData({
      codes: unfit.map(({ code }) => code),
      problem: unfit.map((f) => f.message).join("\n")
    })
  }
  return prepared(read, options, maxLength)
})

const prepared = (read: ReadData, options: SftOptions, maxLength: number): PreparedData => {
  const { store, evaluationFrom } = read
  const split = splitRows(read.firstEqual.subarray(0, evaluationFrom), options.evaluationFraction, options.seed)
  const units = (rows: Int32Array): Units =>
    options.packing ? packRows(rows, maxLength, (row) => store.tokensOf(row)) : unitsOfRows(rows)
  const weights = sourcesOf(options.data).map(({ weight }) => weight)
  const mixed = weights.some((weight) => weight !== 1)
  const schedule = batchSchedule(
    mixed
      ? mixture(
          read.ends.map((end, i) => units(rowsBetween(split.train, read.ends[i - 1] ?? 0, end))),
          weights
        )
      : units(split.train),
    options,
    (row) => store.tokensOf(row)
  )

  const heldOut = Int32Array.from([...split.evaluation, ...range(evaluationFrom, store.rows)])
  const evaluation = batchSchedule(units(heldOut), {
    ...options,
    shuffle: false,
    groupByLength: false,
    gradAccumulationSteps: 1
  })
  const documents = (rows: ReadonlyArray<number>): MicroBatch => rows.map((row) => store.document(row))
  return {
    rows: split.train.length,
    stepsPerEpoch: schedule.stepsPerEpoch,
    batches: (step) => schedule.rowsOf(step).map(documents),
    evaluation: Array.from({ length: evaluation.stepsPerEpoch }, (_, i) =>
      evaluation.rowsOf(i + 1).map(documents)
    ).flat(),
    shapes: (steps) => shapesOf(schedule, steps, (row) => store.tokensOf(row)),
    fingerprint: fingerprintOf(read, options, maxLength),
    report: reportOf(read, split.train.length, heldOut.length),
    placeOf: (sample) => store.placeOf(sample),
    tokensOf: (sample) => {
      const words = Array.from(store.wordsOf(sample))
      return { ids: words.map((word) => (word < 0 ? ~word : word)), supervised: words.map((word) => word < 0) }
    }
  }
}

const shapesOf = (
  schedule: BatchSchedule,
  steps: number,
  tokensOf: (row: number) => number
): ReadonlyArray<BatchShape> => {
  const shapes = new Map<string, BatchShape>()
  for (let step = 1; step <= steps; step++) {
    for (const rows of schedule.rowsOf(step)) {
      const lengths = rows.map(tokensOf)
      const key = `${rows.length}/${lengths.reduce((sum, tokens) => sum + tokens, 0)}`
      if (!shapes.has(key)) shapes.set(key, lengths)
    }
  }
  return [...shapes.values()]
}

const reportOf = (
  { store, rows, findings }: ReadData,
  trainSequences: number,
  evaluationSequences: number
): DataReport => {
  let supervisedTokens = 0
  let longestTokens = 0
  for (let row = 0; row < store.rows; row++) {
    supervisedTokens += store.supervisedOf(row)
    longestTokens = Math.max(longestTokens, store.tokensOf(row))
  }
  return {
    rows,
    trainSequences,
    evaluationSequences,
    tokens: store.tokens,
    supervisedTokens,
    longestTokens,
    findings: findings.build()
  }
}

const fingerprintOf = ({ store, ends, evaluationFrom }: ReadData, options: SftOptions, maxLength: number): string => {
  const hash = createHash("sha256")
  const { batchSize, gradAccumulationSteps, packing, shuffle, groupByLength, seed, evaluationFraction } = options
  const weights = sourcesOf(options.data).map(({ weight }) => weight)
  const deciding = { batchSize, gradAccumulationSteps, packing, shuffle, seed, evaluationFraction, evaluationFrom }
  const mixed = weights.some((weight) => weight !== 1) ? { weights, ends } : {}
  const more = { ...(packing ? { maxLength } : {}), ...(groupByLength ? { groupByLength } : {}) }
  hash.update(JSON.stringify({ ...deciding, ...mixed, ...more }))
  // Length and words of each row, by the mebibyte: a million small updates would leave a gigabyte of litter.
  let words = new Int32Array(2 ** 18)
  let filled = 0
  for (let row = 0; row < store.rows; row++) {
    const length = store.tokensOf(row)
    if (filled + 1 + length > words.length) {
      hash.update(words.subarray(0, filled))
      filled = 0
      if (1 + length > words.length) words = new Int32Array(1 + length)
    }
    words[filled] = length
    store.copyWords(words, filled + 1, row)
    filled += 1 + length
  }
  hash.update(words.subarray(0, filled))
  return hash.digest("hex")
}

const rowsBetween = (rows: Int32Array, from: number, to: number): Int32Array =>
  rows.filter((row) => row >= from && row < to)

/** The units of several sources as one list, a pack never holding rows of two. */
const mixture = (sources: ReadonlyArray<Units>, weights: ReadonlyArray<number>): Units => {
  const starts = [0]
  let first = 0
  for (const source of sources) {
    for (const start of source.starts.subarray(1)) starts.push(first + start)
    first += source.rows.length
  }
  const rows = new Int32Array(first)
  first = 0
  for (const source of sources) {
    rows.set(source.rows, first)
    first += source.rows.length
  }
  return {
    rows,
    starts: Int32Array.from(starts),
    sources: sources.map((source, i) => ({ units: source.starts.length - 1, weight: weights[i]! }))
  }
}

const sourcesOf = (data: SftOptions["data"]): ReadonlyArray<{ readonly path: string; readonly weight: number }> =>
  (typeof data === "string" ? [data] : data).map((source) =>
    typeof source === "string" ? { path: source, weight: 1 } : source
  )

const listOf = (paths: string | ReadonlyArray<string>): ReadonlyArray<string> =>
  typeof paths === "string" ? [paths] : paths

/** Errors about the data fail; anything else is a mistake of this program, and a defect. */
const tryData = <A>(run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, DataError> =>
  Effect.tryPromise({ try: run, catch: (error) => error }).pipe(
    Effect.catch((error) => (isDataError(error) ? Effect.fail(error) : Effect.die(error)))
  )
