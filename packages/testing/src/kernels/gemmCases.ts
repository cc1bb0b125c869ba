import { gemm, plainGemm } from "@graft/core"
import { act, actOut, type KernelCase, kernelCase } from "../KernelCase.ts"

/** [m, k, n] with every edge of a tile: one, odd, vector widths and one beside them. */
const SHAPES = [
  [1, 1, 1],
  [1, 7, 33],
  [5, 1, 3],
  [3, 64, 17],
  [17, 33, 1],
  [31, 129, 65],
  [64, 48, 96]
] as const

export const gemmCases = (): ReadonlyArray<KernelCase> => {
  const plain = SHAPES.flatMap(([m, k, n]) =>
    [false, true].flatMap((ta) =>
      [false, true].map((tb) =>
        kernelCase(
          gemm,
          `[${m}, ${k}]${ta ? "ᵀ" : ""} × [${k}, ${n}]${tb ? "ᵀ" : ""}`,
          [actOut([m, n]), act(ta ? [k, m] : [m, k]), act(tb ? [n, k] : [k, n])],
          { ...plainGemm, m, k, n, ta, tb, scale: 0.5 }
        )
      )
    )
  )
  const windows = [false, true].flatMap((ta) =>
    [false, true].flatMap((tb) =>
      [false, true].map((accumulate) => {
        const [m, k, n] = [5, 19, 21]
        return kernelCase(
          gemm,
          `rows within larger operands${ta ? ", Aᵀ" : ""}${tb ? ", Bᵀ" : ""}${accumulate ? ", added" : ""}`,
          [act([m + 4, n]), act(ta ? [k + 3, m] : [m + 3, k]), act(tb ? [n + 2, k] : [k + 2, n])],
          { m, k, n, ta, tb, scale: -1.5, accumulate, outRow: 3, aRow: 2, bRow: 1 }
        )
      })
    )
  )
  /** More than one block of every dimension. */
  const large = [false, true].map((ta) =>
    kernelCase(
      gemm,
      `several blocks, ${ta ? "AᵀB" : "ABᵀ"}`,
      [actOut([100, 200]), act(ta ? [700, 100] : [100, 700]), act(ta ? [700, 200] : [200, 700])],
      { ...plainGemm, m: 100, k: 700, n: 200, ta, tb: !ta },
      { large: true }
    )
  )
  return [...plain, ...windows, ...large]
}
