/**
 * Reads files into the token store, row by row: memory holds a few blocks of the file and the store. The first rows are
 * encoded here; where there are many, threads do the rest (encodingPool.ts), and this one reads and keeps.
 */
import { EmptyDataset, NothingSupervised } from "./DataError.ts"
import { FindingsBuilder } from "./DataReport.ts"
import { DuplicateFinder } from "./DuplicateFinder.ts"
import { type EncodedBatch, encodeBatch, type RawBatch, rowsOf } from "./encodeBatch.ts"
import type { EncodeRow } from "./encodeRow.ts"
import type { EncodingPool } from "./encodingPool.ts"
import { int32List } from "./NumberList.ts"
import { openRows } from "./openRows.ts"
import type { RawRow, RowFile } from "./RowFile.ts"
import { type ColumnNames, rowReader } from "./readRow.ts"
import { TokenStore } from "./TokenStore.ts"

export interface ReadOptions {
  readonly columns: ColumnNames
  /** Undefined: .txt files are split, others cut. */
  readonly longText: "cut" | "split" | undefined
  readonly memoryBytes: number
  /** The tokens that end generation. */
  readonly stopIds: ReadonlySet<number>
  /** Starts threads; asked once, when there are more rows than `rowsHere`. */
  readonly startPool: () => Promise<EncodingPool | undefined>
  readonly rowsHere: number
}

export interface ReadData {
  readonly store: TokenStore
  readonly findings: FindingsBuilder
  /** Rows of the files. */
  readonly rows: number
  /** For each sequence of the store, the first that equals it, which is itself where it is new. */
  readonly firstEqual: Int32Array
  /** The store's rows when each of the first list's paths had been read: where the rows of the next begin. */
  readonly ends: ReadonlyArray<number>
  /** Sequences of the store from here on come from the second list of files. */
  readonly evaluationFrom: number
}

/** Both lists go into one store, so that a sequence has one index in all of a run. */
export const readData = async (
  train: ReadonlyArray<string>,
  evaluation: ReadonlyArray<string>,
  encode: EncodeRow,
  options: ReadOptions,
  signal?: AbortSignal
): Promise<ReadData> => {
  const store = new TokenStore({ memoryBytes: options.memoryBytes })
  const { encodedBatches, close } = encodingOf(encode, options, signal)
  try {
    const findings = new FindingsBuilder()
    const duplicates = new DuplicateFinder(store)
    const firstEqual = int32List()

    let endsLearnt = 0
    let tokenised = 0
    const take = (file: string, batch: EncodedBatch, trained: number): void => {
      const { unit, words, lengths, numbers } = batch
      endsLearnt += batch.endsLearnt
      tokenised += batch.tokenised
      for (const { code, rows, numbers: first } of batch.noted)
        findings.add(
          code,
          rows,
          first.map((number) => ({ file, unit, number }))
        )
      let at = 0
      for (let i = 0; i < lengths.length; i++) {
        const own = words.subarray(at, at + lengths[i]!)
        at += own.length
        const place = { file, unit, number: numbers[i]! }
        const sample = store.append(own, place)
        const first = duplicates.add(sample, own)
        firstEqual.push(first)
        if (first < trained) findings.note("held-out-is-trained", place)
        else if (first !== sample) findings.note("duplicate", place)
      }
    }
    const ends: Array<number> = []
    const readAll = async (paths: ReadonlyArray<string>, trained: number): Promise<number> => {
      const before = store.rows
      let rows = 0
      for (const path of paths) {
        for (const file of await openRows(path, signal)) {
          for await (const batch of encodedBatches(file)) {
            rows += batch.rows
            take(file.file, batch, trained)
          }
        }
        ends.push(store.rows)
      }
      if (rows === 0) {
        throw new EmptyDataset({ files: [...paths], problem: "there is no row in it; wanted at least one" })
      }
      if (store.rows === before) {
        const known = findings.build().filter((finding) => finding.code !== "nothing-supervised")
        throw new NothingSupervised({
          files: [...paths],
          rows,
          problem: known[0]?.message ?? "answers are empty, labels all -100, or no turn is the assistant's"
        })
      }
      return rows
    }
    let rows = await readAll(train, 0)
    const evaluationFrom = store.rows
    if (endsLearnt === 0) {
      findings.promote("end-masked", "end-always-masked")
      if (tokenised === 0) findings.promote("never-stops", "end-never-learnt")
    }
    if (evaluation.length > 0) rows += await readAll(evaluation, evaluationFrom)
    return { store, findings, rows, firstEqual: firstEqual.whole(), ends: ends.slice(0, train.length), evaluationFrom }
  } catch (error) {
    store[Symbol.dispose]()
    throw error
  } finally {
    close()
  }
}

/** The batches of a file, encoded, in its order. */
const encodingOf = (encode: EncodeRow, options: ReadOptions, signal: AbortSignal | undefined) => {
  const { columns, longText, stopIds, rowsHere } = options
  let done = 0
  let files = 0
  let pool: EncodingPool | undefined | null = null // null: not asked for yet
  const close = () => pool?.[Symbol.dispose]()
  signal?.addEventListener("abort", close, { once: true })

  async function* encodedBatches(file: RowFile): AsyncGenerator<EncodedBatch, void> {
    const id = files++
    const split = (longText ?? (file.isText ? "split" : "cut")) === "split"
    const read = rowReader(columns)
    let first: RawRow | undefined
    const waiting: Array<Promise<EncodedBatch>> = []
    const batches: AsyncIterable<RawBatch> = file.blocks?.() ?? file.rows()
    for await (const batch of batches) {
      signal?.throwIfAborted()
      if (first !== undefined && done >= rowsHere && pool === null) pool = await options.startPool()
      if (first !== undefined && pool !== null && pool !== undefined) {
        waiting.push(pool.encode({ file: id, name: file.file, first, split, batch }))
        if (waiting.length >= pool.room) yield await waiting.shift()!
        continue
      }
      const rows = rowsOf(batch, file.file)
      first ??= rows[0]
      done += rows.length
      yield encodeBatch(rows, read, encode, split, stopIds)
    }
    for (const batch of waiting) yield await batch
    signal?.throwIfAborted()
  }
  return { encodedBatches, close }
}
