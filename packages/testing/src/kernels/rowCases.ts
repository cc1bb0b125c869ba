/** fill, addScaled, add, scaleRows, sum, broadcast, scaleColumns: elements and rows. */
import {
  add,
  addScaled,
  broadcast,
  type DType,
  fill,
  learntOrder,
  scaleColumnsBackwardM,
  scaleColumnsKernel,
  scaleRows,
  sumKernel,
  takeRows,
  takeScaledRows
} from "@graft/core"
import { act, actOut, f32, f32Out, i32, type KernelCase, kernelCase } from "../KernelCase.ts"
import { randomValues } from "../tensorOf.ts"

const window = { outRow: 0, xRow: 0, scale: 1, accumulate: false }
const exact = { exact: true }
/** One, odd, a vector's width and beside it, and more than a block of a reduction. */
const SIZES = [1, 3, 16, 17, 130, 4099, 9000] as const

/** f32 values of which rounding to bf16 is decided by ties, infinities and NaN; subnormals are left out, as some units flush them. */
const roundingValues = (): Float32Array => {
  const bits: Array<number> = []
  for (let upper = 0x0080; upper < 0x8000; upper += 0x55) {
    for (const lower of [0x0000, 0x7fff, 0x8000, 0x8001, 0xffff]) {
      for (const sign of [0, 0x8000]) bits.push((((upper | sign) << 16) | lower) >>> 0)
    }
  }
  bits.push(0, 0x80000000, 0x7f800000, 0xff800000, 0x7f7fffff, 0x7f7f8000, 0x7f7f7fff, 0x3f808000, 0x3f818000)
  return new Float32Array(Uint32Array.from(bits).buffer)
}

/** Rows taken by an index, and brought back scaled. */
const takenCases = (): ReadonlyArray<KernelCase> =>
  [
    [1, 1],
    [7, 5],
    [40, 33],
    [300, 130]
  ].flatMap(([tokens, width]) => {
    const targets = Array.from({ length: tokens! }, (_, t) => ((t * t) % 5 < 2 ? -100 : t))
    const index = i32(
      [tokens!],
      targets.map((_, t) => (tokens! - 1 - t + 3) % tokens!)
    )
    const order = () => i32([tokens!], Array<number>(tokens!).fill(-9))
    const some = tokens! - (tokens! >> 2)
    const of = (dtypes: ReadonlyArray<DType>) => [
      { ...actOut([some, width!]), dtypes },
      { ...act([tokens!, width!]), dtypes },
      index
    ]
    const taken = { from: tokens! - some, limit: some }
    return [
      kernelCase(learntOrder, `${tokens} tokens`, [order(), order(), i32([tokens!], targets)], null, exact),
      kernelCase(takeRows, `f32, ${some} rows of ${width}`, of(["f32"]), taken, exact),
      kernelCase(takeRows, `bf16, ${some} rows of ${width}`, of(["bf16"]), taken, exact),
      kernelCase(
        takeRows,
        `${tokens} integers`,
        [order(), i32([tokens!], targets), index],
        { from: 0, limit: tokens! },
        exact
      ),
      ...[false, true].map((accumulate) =>
        kernelCase(
          takeScaledRows,
          `${some} of [${tokens}, ${width}]${accumulate ? ", added" : ""}`,
          [
            accumulate ? act([tokens!, width!]) : actOut([tokens!, width!]),
            act([tokens!, width!]),
            f32([tokens!]),
            index
          ],
          { limit: some, accumulate }
        )
      )
    ]
  })

export const rowCases = (): ReadonlyArray<KernelCase> => {
  const rounding = roundingValues()
  return [
    ...takenCases(),
    ...SIZES.flatMap((n) => [
      kernelCase(fill, `${n} numbers`, [actOut([n])], { value: -2.5 }, exact),
      kernelCase(fill, `${n} integers`, [i32([n], Array<number>(n).fill(9))], { value: -7 }, exact),
      kernelCase(add, `${n} numbers`, [actOut([n]), act([n]), act([n])], { scale: 0.75 }),
      kernelCase(add, `${n} numbers, out is a`, [{ ...actOut([n]), is: 1 }, act([n]), act([n])], { scale: -2 }),
      kernelCase(sumKernel, `${n} numbers`, [f32Out([1]), act([n])], { scale: 0.5, accumulate: false }),
      kernelCase(sumKernel, `${n} numbers, added`, [f32([1]), act([n])], { scale: 2, accumulate: true }),
      kernelCase(broadcast, `${n} numbers`, [actOut([n]), f32([1])], { scale: 3, accumulate: false }),
      kernelCase(broadcast, `${n} numbers, added`, [act([n]), f32([1])], { scale: -1, accumulate: true })
    ]),
    kernelCase(
      sumKernel,
      "numbers that cancel",
      [
        f32Out([1]),
        f32([20_001], [...randomValues(10_000, 1, 1e4), 1, ...randomValues(10_000, 1, 1e4).map((v) => -v)])
      ],
      { scale: 1, accumulate: false }
    ),
    kernelCase(
      addScaled,
      "cast",
      [actOut([rounding.length, 1]), f32([rounding.length, 1], rounding)],
      { ...window, width: 1, rows: rounding.length },
      exact
    ),
    ...[1, 3, 16, 17, 130].flatMap((width) => [
      kernelCase(addScaled, `7 rows of ${width}`, [actOut([7, width]), act([7, width])], {
        ...window,
        width,
        rows: 7,
        scale: 1.5
      }),
      kernelCase(addScaled, `rows 2 to 4 of ${width} go to rows 1 to 3`, [act([6, width]), act([5, width])], {
        ...window,
        width,
        rows: 3,
        xRow: 2,
        outRow: 1
      }),
      kernelCase(addScaled, `rows of ${width} added`, [act([6, width]), act([5, width])], {
        width,
        rows: 4,
        xRow: 1,
        outRow: 2,
        scale: -0.25,
        accumulate: true
      }),
      kernelCase(
        addScaled,
        `no rows of ${width}`,
        [act([2, width]), act([2, width])],
        { ...window, width, rows: 0 },
        exact
      ),
      kernelCase(scaleRows, `5 rows of ${width}`, [actOut([5, width]), act([5, width]), f32([5])], {
        accumulate: false
      }),
      kernelCase(scaleRows, `5 rows of ${width}, added`, [act([5, width]), act([5, width]), f32([5, 1])], {
        accumulate: true
      }),
      kernelCase(
        scaleRows,
        `5 rows of ${width} in place`,
        [{ ...actOut([5, width]), is: 1 }, act([5, width]), f32([5])],
        {
          accumulate: false
        }
      ),
      ...[false, true].flatMap((accumulate) => [
        kernelCase(
          scaleColumnsKernel,
          `${width} columns${accumulate ? ", added" : ""}`,
          [accumulate ? act([9, width]) : actOut([9, width]), act([9, width]), f32([width]), norm(width)],
          { accumulate }
        ),
        kernelCase(
          scaleColumnsBackwardM,
          `${width} columns${accumulate ? ", added" : ""}`,
          [accumulate ? f32([width]) : f32Out([width]), act([70, width]), act([70, width]), norm(width)],
          { accumulate }
        )
      ])
    ])
  ]
}
/** Away from 0. */
const norm = (n: number) =>
  f32(
    [n],
    randomValues(n, 77).map((v) => 2 + v)
  )
