import type { Kernel, View } from "../Queue.ts"

interface Norm {
  readonly epsilon: number
}
interface NormBackward extends Norm {
  readonly accumulate: boolean
}
const inverseRms = (x: View, from: number, n: number, epsilon: number): number => {
  let sum = 0
  for (let i = 0; i < n; i++) sum += x[from + i]! ** 2
  return 1 / Math.sqrt(sum / n + epsilon)
}
/** y = x / √(mean(x²) + ε) · w, row by row; x [tokens, hidden], w [hidden] (arXiv:1910.07467). A shorter w norms each head of a row. */
export const rmsNormKernel: Kernel<Norm> = {
  name: "rmsNorm",
  outputs: 1,
  fields: ["epsilon"],
  dtypes: ["act", "act", "float"],
  check: ([, x, w]) => x!.columns % w!.size !== 0 && "the gain does not fit",
  reference: ([y, x, w], { epsilon }) => {
    const n = w!.length
    for (let t = 0; t < x!.length; t += n) {
      const r = inverseRms(x!, t, n, epsilon)
      for (let i = 0; i < n; i++) y![t + i] = x![t + i]! * r * w![i]!
    }
  }
}
/** h = x + y, and n = h / rms(h) · w of h as it is stored. */
export const addRmsNormKernel: Kernel<Norm> = {
  name: "addRmsNorm",
  outputs: 2,
  fields: ["epsilon"],
  dtypes: ["act", "act", "act", "act", "float"],
  check: ([h, n, x, y, w]) =>
    (x!.columns !== w!.size || [h, n, y].some((t) => t!.size !== x!.size)) && "the sizes differ",
  reference: ([h, n, x, y, w], { epsilon }) => {
    const width = w!.length
    for (let t = 0; t < x!.length; t += width) {
      for (let i = t; i < t + width; i++) h![i] = x![i]! + y![i]!
      const r = inverseRms(h!, t, width, epsilon)
      for (let i = 0; i < width; i++) n![t + i] = h![t + i]! * r * w![i]!
    }
  }
}
/** With r = 1 / rms:  dx (+)= r · (dy·w − x · r² · Σ(dy·w·x) / n) */
export const rmsNormBackwardX: Kernel<NormBackward> = {
  name: "rmsNormBackwardX",
  outputs: 1,
  fields: ["epsilon", "accumulate"],
  dtypes: ["act", "act", "act", "float"],
  reference: ([dx, dy, x, w], { epsilon, accumulate }) => {
    const n = w!.length
    for (let t = 0; t < x!.length; t += n) {
      const r = inverseRms(x!, t, n, epsilon)
      let dot = 0
      for (let i = 0; i < n; i++) dot += dy![t + i]! * w![i]! * x![t + i]!
      for (let i = 0; i < n; i++) {
        dx![t + i] = r * (dy![t + i]! * w![i]! - (x![t + i]! * r * r * dot) / n) + (accumulate ? dx![t + i]! : 0)
      }
    }
  }
}
/** Rows whose sum is one partial: a reduction by size, never by threads. */
export const NORM_BLOCK = 64
/** dw (+)= Σ_t dy · x · r */
export const rmsNormBackwardW: Kernel<NormBackward> = {
  name: "rmsNormBackwardW",
  outputs: 1,
  fields: ["epsilon", "accumulate"],
  dtypes: ["f32", "act", "act"],
  workspaceBytes: ([dw, dy]) => 4 * dw!.size * Math.ceil(dy!.size / dw!.size / NORM_BLOCK),
  reference: ([dw, dy, x], { epsilon, accumulate }) => {
    const n = dw!.length
    if (!accumulate) dw!.fill(0)
    for (let t = 0; t < x!.length; t += n) {
      const r = inverseRms(x!, t, n, epsilon)
      for (let i = 0; i < n; i++) dw![i]! += dy![t + i]! * x![t + i]! * r
    }
  }
}
