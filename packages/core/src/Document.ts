/** Training data as a session sees it: documents end to end, and their way onto the device. */
import type { Batch } from "./Model.ts"
import type { Scope } from "./Tensor.ts"

/** targets[t] is the token that position t must predict, or below 0: not learnt. Positions restart in each document. */
export interface Document {
  /** Stable index of the row: keys the random numbers. */
  readonly sample: number
  readonly ids: ArrayLike<number>
  readonly targets: ArrayLike<number>
}
export type MicroBatch = ReadonlyArray<Document>

export const tokensIn = (documents: MicroBatch): number => documents.reduce((n, d) => n + d.ids.length, 0)
export const supervisedIn = (documents: MicroBatch): number => {
  let count = 0
  for (const { targets } of documents) for (let t = 0; t < targets.length; t++) if (targets[t]! >= 0) count++
  return count
}

/** All that memory depends on: how many tokens, in how many documents. */
export const shapeOf = (documents: MicroBatch): string => `${tokensIn(documents)}/${documents.length}`

/** Lays documents end to end on the device. */
export const collate = (
  scope: Scope,
  documents: MicroBatch,
  context: { readonly seed: number; readonly step: number; readonly training: boolean }
): Batch => {
  const tokens = tokensIn(documents)
  const i32 = (name: string, shape: ReadonlyArray<number>, each: (write: (value: number) => void) => void) => {
    const t = scope.tensor(shape, name, "i32")
    scope.queue.upload(t, () => {
      const values = new Int32Array(t.size)
      let at = 0
      each((value) => {
        values[at++] = value
      })
      return values
    })
    return t
  }
  return {
    ids: i32("ids", [tokens], (write) => {
      for (const d of documents) for (let i = 0; i < d.ids.length; i++) write(d.ids[i]!)
    }),
    targets: i32("targets", [tokens], (write) => {
      for (const d of documents) for (let i = 0; i < d.ids.length; i++) write(d.targets[i] ?? -1)
    }),
    segments: i32("segments", [documents.length, 4], (write) => {
      let start = 0
      for (const { ids } of documents) {
        for (const value of [start, ids.length, start, ids.length]) write(value)
        start += ids.length
      }
    }),
    rowKeys: i32("rowKeys", [tokens, 2], (write) => {
      for (const { sample, ids } of documents)
        for (let position = 0; position < ids.length; position++) {
          write(sample)
          write(position)
        }
    }),
    supervised: supervisedIn(documents),
    ...context
  }
}
