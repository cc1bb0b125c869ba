/** Rows that are learnt laid side by side, and their results brought back: what a head on supervised positions alone needs. */
import type { Kernel } from "../Queue.ts"

/**
 * order i32 [tokens]: the tokens with a target of 0 or more, then the others, each in their order; ranks i32 [tokens] is its
 * inverse. targets i32 [tokens].
 */
export const learntOrder: Kernel<null> = {
  name: "learntOrder",
  outputs: 2,
  fields: [],
  dtypes: ["i32", "i32", "i32"],
  check: ([order, ranks, targets]) =>
    (order!.size !== targets!.size || ranks!.size !== targets!.size) && "sizes differ",
  reference: ([order, ranks, targets]) => {
    let next = 0
    for (const learnt of [true, false])
      for (let t = 0; t < targets!.length; t++) {
        if (targets![t]! >= 0 !== learnt) continue
        ranks![t] = next
        order![next++] = t
      }
  }
}

interface Taken {
  readonly from: number
  readonly limit: number
}
/** out[r] = x[index[from + r]], 0 where that index is not below `limit`; out [rows, n] and x of one dtype, index i32 [rows of x]. */
export const takeRows: Kernel<Taken> = {
  name: "takeRows",
  outputs: 1,
  fields: ["from", "limit"],
  dtypes: ["plain", "plain", "i32"],
  check: ([out, x, index], { from, limit }) =>
    (out!.dtype !== x!.dtype ||
      out!.columns !== x!.columns ||
      x!.rows !== index!.size ||
      from + out!.rows > x!.rows ||
      limit > x!.rows) &&
    `rows from ${from} of ${limit} do not fit`,
  reference: ([out, x, index], { from, limit }) => {
    const n = x!.length / index!.length
    for (let r = 0; r * n < out!.length; r++) {
      const row = index![from + r]!
      for (let i = 0; i < n; i++) out![r * n + i] = row < limit ? x![row * n + i]! : 0
    }
  }
}

/** out[t] (+)= s[t] · x[index[t]], or nothing where that index is not below `limit`; out, x [rows, n], s f32 [rows], index i32 [rows]. */
export const takeScaledRows: Kernel<{ readonly limit: number; readonly accumulate: boolean }> = {
  name: "takeScaledRows",
  outputs: 1,
  fields: ["limit", "accumulate"],
  dtypes: ["act", "act", "f32", "i32"],
  check: ([out, x, s, index], { limit }) =>
    (out!.size !== x!.size || out!.rows !== s!.size || out!.rows !== index!.size || limit > x!.rows) &&
    `rows of ${limit} do not fit`,
  reference: ([out, x, s, index], { limit, accumulate }) => {
    const n = x!.length / index!.length
    for (let i = 0; i < out!.length; i++) {
      const t = Math.floor(i / n)
      const row = index![t]!
      out![i] = (row < limit ? s![t]! * x![row * n + (i % n)]! : 0) + (accumulate ? out![i]! : 0)
    }
  }
}
