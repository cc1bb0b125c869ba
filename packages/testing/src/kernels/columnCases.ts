/** addColumns, columnSums, columns: a bias, its gradient, parts of a fused projection; norms of the heads in a row. */
import {
  addColumnsKernel,
  columnSumsKernel,
  columnsKernel,
  rmsNormBackwardW,
  rmsNormBackwardX,
  rmsNormKernel
} from "@graft/core"
import { act, actOut, f32, f32Out, type KernelCase, kernelCase, stored } from "../KernelCase.ts"

const title = (what: string, accumulate: boolean): string => `${what}${accumulate ? ", added" : ""}`

/** Rows of three heads under a gain as wide as one. */
const headNorms = (): ReadonlyArray<KernelCase> =>
  [4, 16, 80].flatMap((n) => {
    const shape = [9, 3 * n]
    return [
      kernelCase(rmsNormKernel, `3 heads of ${n}`, [actOut(shape), act(shape), stored([n])], { epsilon: 1e-6 }),
      kernelCase(rmsNormBackwardX, `3 heads of ${n}`, [actOut(shape), act(shape), act(shape), stored([n])], {
        epsilon: 1e-6,
        accumulate: false
      }),
      // 90 heads: more than are summed together.
      kernelCase(rmsNormBackwardW, `3 heads of ${n}`, [f32Out([n]), act([30, 3 * n]), act([30, 3 * n])], {
        epsilon: 1e-6,
        accumulate: false
      })
    ]
  })

export const columnCases = (): ReadonlyArray<KernelCase> => [
  ...headNorms(),
  ...[1, 3, 16, 67, 600].flatMap((n) => [
    kernelCase(addColumnsKernel, `5 rows of ${n}`, [actOut([5, n]), act([5, n]), stored([n])], null),
    kernelCase(
      addColumnsKernel,
      `5 rows of ${n} in place`,
      [{ ...actOut([5, n]), is: 1 }, act([5, n]), stored([n])],
      null
    ),
    ...[false, true].flatMap((accumulate) => [
      kernelCase(
        columnSumsKernel,
        title(`${n} columns`, accumulate),
        [accumulate ? f32([n]) : f32Out([n]), act([70, n])],
        { accumulate }
      ),
      kernelCase(
        columnsKernel,
        title(`the last ${n} of ${n + 5} columns`, accumulate),
        [accumulate ? act([6, n]) : actOut([6, n]), act([6, n + 5])],
        { width: n, outWidth: n, outColumn: 0, xWidth: n + 5, xColumn: 5, accumulate }
      ),
      kernelCase(columnsKernel, title(`${n} columns among ${n + 7}`, accumulate), [act([6, n + 7]), act([6, n])], {
        width: n,
        outWidth: n + 7,
        outColumn: 4,
        xWidth: n,
        xColumn: 0,
        accumulate
      })
    ])
  ])
]
