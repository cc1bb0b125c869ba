/** A figure of a bench and how it is written. */
/** One figure of a bench of ops: a rate a second or a time in seconds, and what share of the machine's limit that is. */
export interface FigureRow {
  readonly threads: number
  readonly what: string
  readonly value: number
  readonly unit: "GFLOP/s" | "GB/s" | "G/s" | "ms"
  readonly digits: number
  readonly share?: number
  /** What the share is of: "peak", "copying", "reading". */
  readonly of?: string
  /** What stands beside it, as a peer's rate. */
  readonly note?: string
}

const unitFactor: Readonly<Record<string, number>> = { "GFLOP/s": 1e9, "GB/s": 1e9, "G/s": 1e9, ms: 1e-3 }

/** `2.13 G/s`, from what is counted in one a second (or seconds). */
export const figureOf = ({ value, unit, digits }: FigureRow): string =>
  `${(value / (unitFactor[unit] ?? 1)).toFixed(digits)} ${unit}`
export const shareOf = ({ share, of }: FigureRow): string =>
  share === undefined ? "" : `${(100 * share).toFixed(0)} % of ${of}`
