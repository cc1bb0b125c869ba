/**
 * One document of a micro-batch, as core's trainer takes it. Documents lie end to end as segments, without padding; positions
 * restart at 0 in each and no token sees another document.
 */
export interface Document {
  /** The row's index in the prepared data. It keys the random numbers, so it stays the same in any batch. */
  readonly sample: number
  readonly ids: Int32Array
  /** What each position is to predict: the next token, or -1 where that is not learnt. The last is always -1. */
  readonly targets: Int32Array
}

export type MicroBatch = ReadonlyArray<Document>
