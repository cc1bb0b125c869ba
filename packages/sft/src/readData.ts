/** Reads files into the token store, row by row: memory holds a chunk of the file and the store. */
import { EmptyDataset, NothingSupervised } from "./DataError.ts"
import { FindingsBuilder } from "./DataReport.ts"
import { DuplicateFinder } from "./DuplicateFinder.ts"
import type { EncodeRow } from "./encodeRow.ts"
import { int32List } from "./NumberList.ts"
import { openRows } from "./openRows.ts"
import { type ColumnNames, rowReader } from "./readRow.ts"
import { TokenStore } from "./TokenStore.ts"

export interface ReadOptions {
  readonly columns: ColumnNames
  /** Undefined: .txt files are split, others cut. */
  readonly longText: "cut" | "split" | undefined
  readonly memoryBytes: number
  /** The tokens that end generation. */
  readonly stopIds: ReadonlySet<number>
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
  try {
    const findings = new FindingsBuilder()
    const duplicates = new DuplicateFinder(store)
    const firstEqual = int32List()

    let endsLearnt = 0
    let tokenised = 0
    const ends: Array<number> = []
    const readAll = async (paths: ReadonlyArray<string>, trained: number): Promise<number> => {
      const before = store.rows
      let rows = 0
      for (const path of paths) {
        for (const file of await openRows(path, signal)) {
          const read = rowReader(options.columns)
          const split = (options.longText ?? (file.isText ? "split" : "cut")) === "split"
          for await (const batch of file.rows()) {
            signal?.throwIfAborted()
            for (const { place, value } of batch) {
              rows++
              const row = read(value, place)
              if (row.kind === "tokens") tokenised++
              for (const words of encode(row, place, split, (finding) => findings.note(finding, place))) {
                if (!words.some((word) => word < 0)) {
                  findings.note("nothing-supervised", place)
                  continue
                }
                if (words.findLastIndex((word) => word < 0 && options.stopIds.has(~word)) >= 0) endsLearnt++
                const sample = store.append(words, place)
                const first = duplicates.add(sample, words)
                firstEqual.push(first)
                if (first < trained) findings.note("held-out-is-trained", place)
                else if (first !== sample) findings.note("duplicate", place)
              }
            }
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
    return { store, findings, rows, firstEqual: firstEqual.view(), ends: ends.slice(0, train.length), evaluationFrom }
  } catch (error) {
    store[Symbol.dispose]()
    throw error
  }
}
