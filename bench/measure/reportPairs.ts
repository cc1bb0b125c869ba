/** The table of fused pairs: memory, speed and numbers of both sides. */
import type { PairRow, SideFigures } from "../pairs/measurePair.ts"

export const pairHead = [
  "pair",
  "shape",
  "compute",
  "composed, ms",
  "fused, ms",
  "times as fast",
  "fused",
  "of limit",
  "composed, MB",
  "fused, MB",
  "values differ by",
  "gradients by"
] as const

const times = ({ forward, backward }: SideFigures): string =>
  [forward, ...(backward > 0 ? [backward] : [])].map((seconds) => (1000 * seconds).toFixed(2)).join(" + ")
const secondsOf = ({ forward, backward }: SideFigures): number => forward + backward
const megabytes = ({ forwardBytes, backwardBytes, backward }: SideFigures): string =>
  [forwardBytes, ...(backward > 0 ? [backwardBytes] : [])].map((bytes) => (bytes / 1e6).toFixed(1)).join(", ")
const difference = (d: number | undefined): string => (d === undefined ? "" : d === 0 ? "0" : d.toExponential(1))

export const pairCells = (row: PairRow): ReadonlyArray<string> => [
  ...[row.pair, row.shape, row.compute, times(row.composed), times(row.fused)],
  `**${(secondsOf(row.composed) / secondsOf(row.fused)).toFixed(2)}**`,
  `${(row.rate / 1e9).toFixed(0)} ${row.unit}`,
  `${((100 * row.rate) / row.limit).toFixed(0)} %`,
  ...[megabytes(row.composed), megabytes(row.fused)],
  ...[difference(row.valueDifference), difference(row.gradientDifference)]
]

export const saidOfPairs =
  "Forward and backward on the same tensors, both sides in turns, the best of the rounds; times are those in which the queue ran, forward + backward. Linears have dense bf16 weights and adapters of rank 16. A rate counts what is read later, whatever a side computes; its limit is the register-only multiply-add peak of the same seconds, for GB/s copying in memory (what stays in a cache may be faster). Memory is the plan's peak in each of the two, beyond weights, inputs and their gradients. A difference is the largest of a tensor over its largest number, of all outputs and of all gradients. Core's own attention, embedding and update are the fused side of their rows: composed attention keeps all weights of all heads, the composed embedding's gradient is a product with one-hot rows, and the composed update goes tensor by tensor."
