/** What a run could take, from the least memory to the most speed. */
import { bytes, rate } from "./quantities.ts"
import { table } from "./table.ts"

export interface FitRow {
  readonly bytes: number
  readonly text: string
  readonly chosen: boolean
  /** Undefined where no rates are kept. */
  readonly tokensPerSecond: number | undefined
  /** Of the chosen way's speed. */
  readonly share: number
}

export const fitTable = (rows: ReadonlyArray<FitRow>): string =>
  table([
    ["ways to run it", "memory", "tokens/s", "speed"],
    ...rows.map(({ bytes: size, text, chosen, tokensPerSecond, share }) => [
      chosen ? `${text} (taken)` : text,
      bytes(size),
      tokensPerSecond === undefined ? "–" : rate(tokensPerSecond),
      `${share.toFixed(2)} ×`
    ])
  ])
