import type { Kernel } from "../Queue.ts"
import { philox, toUnit } from "./random.ts"

interface Dropout {
  readonly rate: number
  readonly seed: number
  readonly step: number
  readonly site: number
  readonly width: number
  readonly rows: number
  readonly outRow: number
  readonly xRow: number
  readonly keyRow: number
  readonly accumulate: boolean
}
const lanes = new Uint32Array(4)
/** out (+)= keep ? x / (1 − rate) : 0, where keep is a function of (seed, site, step, sample, position, column). */
export const dropoutKernel: Kernel<Dropout> = {
  name: "dropout",
  outputs: 1,
  fields: ["rate", "seed", "step", "site", "width", "rows", "outRow", "xRow", "keyRow", "accumulate"],
  dtypes: ["act", "act", "i32"],
  check: ([out, x, keys], p) =>
    (out!.rows < p.outRow + p.rows || x!.rows < p.xRow + p.rows || keys!.rows < p.keyRow + p.rows) && "rows do not fit",
  reference: ([out, x, keys], p) => {
    for (let t = 0; t < p.rows; t++) {
      const key = 2 * (p.keyRow + t)
      for (let c = 0; c < p.width; c++) {
        if (c % 4 === 0) philox(lanes, p.seed, p.site, c / 4, keys![key + 1]!, keys![key]!, p.step)
        const at = (p.outRow + t) * p.width + c
        const kept = toUnit(lanes[c % 4]!) >= p.rate ? x![(p.xRow + t) * p.width + c]! / (1 - p.rate) : 0
        out![at] = kept + (p.accumulate ? out![at]! : 0)
      }
    }
  }
}
