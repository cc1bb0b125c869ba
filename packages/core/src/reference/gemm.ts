import type { Kernel } from "../Queue.ts"

interface Gemm {
  readonly m: number
  readonly k: number
  readonly n: number
  readonly ta: boolean
  readonly tb: boolean
  readonly scale: number
  readonly accumulate: boolean
  readonly outRow: number
  readonly aRow: number
  readonly bRow: number
}
/** What a call may leave out. */
export const plainGemm = { ta: false, tb: false, scale: 1, accumulate: false, outRow: 0, aRow: 0, bRow: 0 }

/** out [m, n] (+)= scale · A [m, k] B [k, n]; `ta`, `tb`: stored transposed. Row offsets count rows as stored: a segment needs no view. */
export const gemm: Kernel<Gemm> = {
  name: "gemm",
  outputs: 1,
  fields: ["m", "k", "n", "ta", "tb", "scale", "accumulate", "outRow", "aRow", "bRow"],
  dtypes: ["act", "act", "act"],
  check: ([out, a, b], { m, k, n, ta, tb, outRow, aRow, bRow }) =>
    (out!.columns !== n ||
      out!.rows < outRow + m ||
      a!.columns !== (ta ? m : k) ||
      a!.rows < aRow + (ta ? k : m) ||
      b!.columns !== (tb ? k : n) ||
      b!.rows < bRow + (tb ? n : k)) &&
    `m, k, n = ${m}, ${k}, ${n} do not fit`,
  reference: ([out, a, b], { m, k, n, ta, tb, scale, accumulate, outRow, aRow, bRow }) => {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0
        for (let p = 0; p < k; p++) {
          sum += a![ta ? (aRow + p) * m + i : (aRow + i) * k + p]! * b![tb ? (bRow + j) * k + p : (bRow + p) * n + j]!
        }
        const at = (outRow + i) * n + j
        out![at] = scale * sum + (accumulate ? out![at]! : 0)
      }
    }
  }
}
