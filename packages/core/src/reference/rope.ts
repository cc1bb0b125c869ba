import type { Kernel } from "../Queue.ts"

/**
 * table [tokens, headDim]: cos(position · f_i) · scale in the first half of a row, sin in the second. rowKeys [tokens, 2]
 * holds (sample, position).
 */
export const ropeTableKernel: Kernel<{ readonly scale: number }> = {
  name: "ropeTable",
  outputs: 1,
  fields: ["scale"],
  dtypes: ["f32", "i32", "f32"],
  check: ([table, keys, f]) => (table!.columns !== 2 * f!.size || keys!.rows !== table!.rows) && "sizes differ",
  reference: ([table, keys, f], { scale }) => {
    const half = f!.length
    for (let t = 0; t < keys!.length / 2; t++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround(keys![2 * t + 1]! * f![i]!)
        table![t * 2 * half + i] = Math.cos(angle) * scale
        table![t * 2 * half + half + i] = Math.sin(angle) * scale
      }
    }
  }
}
interface Rope {
  readonly heads: number
  readonly headDim: number
  readonly inverse: boolean
  readonly accumulate: boolean
}
/** Rotates pairs (i, i + half) of each head by the angle of the row (arXiv:2104.09864, in Hugging Face's half layout). y may be x. */
export const ropeKernel: Kernel<Rope> = {
  name: "rope",
  outputs: 1,
  fields: ["heads", "headDim", "inverse", "accumulate"],
  dtypes: ["act", "act", "f32"],
  check: ([, x, table], p) =>
    (x!.columns !== p.heads * p.headDim || table!.columns !== p.headDim || x!.rows !== table!.rows) && "sizes differ",
  reference: ([y, x, table], { heads, headDim, inverse, accumulate }) => {
    const half = headDim / 2
    const width = headDim * heads
    for (let t = 0; t < x!.length / width; t++) {
      for (let h = 0; h < heads; h++) {
        for (let i = 0; i < half; i++) {
          const at = t * width + headDim * h + i
          const c = table![headDim * t + i]!
          const s = inverse ? -table![headDim * t + half + i]! : table![headDim * t + half + i]!
          const a = x![at]!
          const b = x![at + half]!
          y![at] = a * c - b * s + (accumulate ? y![at]! : 0)
          y![at + half] = b * c + a * s + (accumulate ? y![at + half]! : 0)
        }
      }
    }
  }
}
