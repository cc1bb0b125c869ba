import type { Kernel } from "../Queue.ts"
import { philox, toUnit } from "./random.ts"

interface Noise {
  readonly seed: number
  readonly step: number
  readonly site: number
}
const lanes = new Uint32Array(4)
/**
 * out = x + (2u − 1) · sizes by row, u uniform in [0, 1), a function of (seed, site, step, sample, position, column): the
 * noise of NEFTune (arXiv:2310.05914), where sizes [tokens] = alpha / √(L · d). keys i32 [tokens, 2] = (sample, position).
 */
export const uniformNoise: Kernel<Noise> = {
  name: "uniformNoise",
  outputs: 1,
  fields: ["seed", "step", "site"],
  dtypes: ["act", "act", "i32", "f32"],
  check: ([out, x, keys, sizes]) =>
    (out!.size !== x!.size || x!.rows !== keys!.rows || x!.rows !== sizes!.size) && "rows differ",
  reference: ([out, x, keys, sizes], { seed, step, site }) => {
    const width = x!.length / sizes!.length
    for (let t = 0; t < sizes!.length; t++) {
      for (let c = 0; c < width; c++) {
        if (c % 4 === 0) philox(lanes, seed, site, c / 4, keys![2 * t + 1]!, keys![2 * t]!, step)
        out![t * width + c] = x![t * width + c]! + (2 * toUnit(lanes[c % 4]!) - 1) * sizes![t]!
      }
    }
  }
}
