/** Columns of rows: a bias on each, their sums, a range of them. */
import type { Kernel } from "../Queue.ts"

/** y [rows, n] = x + b [n] */
export const addColumnsKernel: Kernel<null> = {
  name: "addColumns",
  outputs: 1,
  fields: [],
  dtypes: ["act", "act", "float"],
  check: ([y, x, b]) => (y!.size !== x!.size || x!.columns !== b!.size) && "widths differ",
  reference: ([y, x, b]) => {
    const n = b!.length
    for (let i = 0; i < y!.length; i++) y![i] = x![i]! + b![i % n]!
  }
}

/** out f32 [n] (+)= Σ_t x[t], x [rows, n] */
export const columnSumsKernel: Kernel<{ readonly accumulate: boolean }> = {
  name: "columnSums",
  outputs: 1,
  fields: ["accumulate"],
  dtypes: ["f32", "act"],
  check: ([out, x]) => x!.columns !== out!.size && "widths differ",
  reference: ([out, x], { accumulate }) => {
    const n = out!.length
    for (let o = 0; o < n; o++) {
      let sum = 0
      for (let i = o; i < x!.length; i += n) sum += x![i]!
      out![o] = sum + (accumulate ? out![o]! : 0)
    }
  }
}

interface Columns {
  readonly width: number
  readonly outWidth: number
  readonly outColumn: number
  readonly xWidth: number
  readonly xColumn: number
  readonly accumulate: boolean
}
/** out[:, outColumn …] (+)= x[:, xColumn …], `width` columns of every row; out [rows, outWidth], x [rows, xWidth]. */
export const columnsKernel: Kernel<Columns> = {
  name: "columns",
  outputs: 1,
  fields: ["width", "outWidth", "outColumn", "xWidth", "xColumn", "accumulate"],
  dtypes: ["act", "act"],
  check: ([out, x], p) =>
    (out!.rows !== x!.rows ||
      out!.columns !== p.outWidth ||
      x!.columns !== p.xWidth ||
      p.outColumn + p.width > p.outWidth ||
      p.xColumn + p.width > p.xWidth) &&
    `${p.width} columns from ${p.xColumn} of ${p.xWidth} to ${p.outColumn} of ${p.outWidth} do not fit`,
  reference: ([out, x], { width, outWidth, outColumn, xWidth, xColumn, accumulate }) => {
    for (let t = 0; t < x!.length / xWidth; t++) {
      for (let i = 0; i < width; i++) {
        const at = t * outWidth + outColumn + i
        out![at] = x![t * xWidth + xColumn + i]! + (accumulate ? out![at]! : 0)
      }
    }
  }
}
