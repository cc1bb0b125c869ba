/** The kernels of a dense weight in each of its dtypes. */
import { denseKernels } from "@graft/core"
import { act, actOut, f32Out, i32, type KernelCase, kernelCase, stored } from "../KernelCase.ts"

/** W [out, in], with x of so many rows. */
const SHAPES = [
  [1, 1, 1],
  [3, 5, 2],
  [33, 17, 1],
  [65, 130, 7],
  [48, 64, 96]
] as const
const { apply, applyTransposed, applyWithTail, applyTransposedWithTail, dequantizeRows, gatherRows, rowNormsSquared } =
  denseKernels

export const denseCases = (): ReadonlyArray<KernelCase> =>
  SHAPES.flatMap(([out, inner, rows]) => {
    const w = stored([out, inner])
    const shape = { out, in: inner }
    const title = `W [${out}, ${inner}], ${rows} rows`
    const whole = { ...shape, accumulate: false, xRow: 0, yRow: 0, rows }
    const part = { ...shape, accumulate: true, xRow: 2, yRow: 1, rows }
    const ids = Array.from({ length: rows }, (_, i) => (i * 7) % out)
    return [
      kernelCase(apply, title, [actOut([rows, out]), act([rows, inner]), w], whole),
      kernelCase(apply, `${title} within more, added`, [act([rows + 2, out]), act([rows + 3, inner]), w], part),
      kernelCase(apply, `${title} within more`, [act([rows + 2, out]), act([rows + 3, inner]), w], {
        ...part,
        accumulate: false
      }),
      kernelCase(apply, `W [${out}, ${inner}], no rows`, [act([1, out]), act([1, inner]), w], { ...whole, rows: 0 }),
      kernelCase(applyTransposed, title, [actOut([rows, inner]), act([rows, out]), w], whole),
      kernelCase(
        applyTransposed,
        `${title} within more, added`,
        [act([rows + 2, inner]), act([rows + 3, out]), w],
        part
      ),
      kernelCase(applyTransposed, `${title} within more`, [act([rows + 2, inner]), act([rows + 3, out]), w], {
        ...part,
        accumulate: false
      }),
      ...tailCases(out, inner, rows),
      kernelCase(dequantizeRows, title, [actOut([out, inner]), w], { ...shape, firstRow: 0 }, { exact: true }),
      kernelCase(
        dequantizeRows,
        `the last rows of W [${out}, ${inner}]`,
        [actOut([Math.ceil(out / 2), inner]), w],
        { ...shape, firstRow: out - Math.ceil(out / 2) },
        { exact: true }
      ),
      kernelCase(gatherRows, title, [actOut([rows, inner]), i32([rows], ids), w], shape, { exact: true }),
      kernelCase(rowNormsSquared, title, [f32Out([out]), w], shape)
    ]
  })

/** Products with a low-rank tail, h [rows, rank] or rows of hᵀ; whole, and within more. */
const tailCases = (out: number, inner: number, rows: number): ReadonlyArray<KernelCase> =>
  [applyWithTail, applyTransposedWithTail].flatMap((kernel, i) => {
    const [wide, long] = i === 0 ? [out, inner] : [inner, out]
    return [1, 8, 16].flatMap((rank) => {
      const factor = act(i === 0 ? [out, rank] : [rank, inner])
      const title = `W [${out}, ${inner}], ${rows} rows, rank ${rank}`
      const span = { out, in: inner, rows, rank }
      return [
        kernelCase(
          kernel,
          title,
          [actOut([rows, wide]), act([rows, long]), act([rows, rank]), factor, stored([out, inner])],
          { ...span, accumulate: false, xRow: 0, yRow: 0, hRow: 0, hTransposed: false, scale: 2 }
        ),
        kernelCase(
          kernel,
          `${title} of hᵀ within more, added`,
          [act([rows + 2, wide]), act([rows + 3, long]), act([rank + 5, rows]), factor, stored([out, inner])],
          { ...span, accumulate: true, xRow: 2, yRow: 1, hRow: 3, hTransposed: true, scale: -0.37 }
        )
      ]
    })
  })
