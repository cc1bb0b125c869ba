/** Sets rows apart for evaluation. */
import { permutation } from "./permutation.ts"
import { range } from "./range.ts"

export interface RowSplit {
  /** Row indices in the data's order. */
  readonly train: Int32Array
  readonly evaluation: Int32Array
}

/**
 * Holds out `fraction` of the distinct rows, drawn by seed: at least one, and never all. A row that equals an earlier one
 * (`firstEqual[row]` names it) goes where that one goes, so that nothing held out is trained on.
 */
export const splitRows = (firstEqual: Int32Array, fraction: number, seed: number): RowSplit => {
  const distinct = firstEqual.filter((first, row) => first === row)
  const wanted = fraction === 0 ? 0 : Math.max(1, Math.round(fraction * distinct.length))
  const count = Math.min(wanted, distinct.length - 1)
  const held = new Uint8Array(firstEqual.length)
  for (const i of permutation(distinct.length, seed, "split").subarray(0, Math.max(0, count))) held[distinct[i]!] = 1
  const rows = range(0, firstEqual.length)
  return {
    train: rows.filter((row) => held[firstEqual[row]!] === 0),
    evaluation: rows.filter((row) => held[firstEqual[row]!] === 1)
  }
}
