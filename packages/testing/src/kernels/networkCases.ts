/** rmsNorm, rope, swiglu, geglu, dropout and noise, cross-entropy and hits, embedding gradient. */
import {
  addRmsNormKernel,
  crossEntropyRows,
  dropoutKernel,
  type GatedKernels,
  gatherGradient,
  gegluKernels,
  rmsNormBackwardW,
  rmsNormBackwardX,
  rmsNormKernel,
  ropeKernel,
  ropeTableKernel,
  softCapKernel,
  swigluKernels,
  topIsTarget,
  uniformNoise
} from "@graft/core"
import { act, actOut, f32, f32Out, i32, type KernelCase, kernelCase, stored } from "../KernelCase.ts"
import { randomValues } from "../tensorOf.ts"

/** [tokens, width]; the last has several partial sums of rows. */
const SHAPES = [
  [1, 1],
  [3, 5],
  [7, 64],
  [5, 67],
  [200, 33]
] as const
const either = [false, true]
const added = (accumulate: boolean): string => (accumulate ? ", added" : "")

const norms = (): ReadonlyArray<KernelCase> =>
  SHAPES.flatMap(([t, n]) => [
    kernelCase(rmsNormKernel, `[${t}, ${n}]`, [actOut([t, n]), act([t, n]), stored([n])], { epsilon: 1e-5 }),
    kernelCase(
      addRmsNormKernel,
      `[${t}, ${n}]`,
      [actOut([t, n]), actOut([t, n]), act([t, n]), act([t, n]), stored([n])],
      { epsilon: 1e-5 }
    ),
    ...either.flatMap((accumulate) => [
      kernelCase(
        rmsNormBackwardX,
        `[${t}, ${n}]${added(accumulate)}`,
        [accumulate ? act([t, n]) : actOut([t, n]), act([t, n]), act([t, n]), stored([n])],
        { epsilon: 1e-6, accumulate },
        { floor: n === 1 ? 1 : 0 } // of one number nothing is left but its sign
      ),
      kernelCase(
        rmsNormBackwardW,
        `[${t}, ${n}]${added(accumulate)}`,
        [accumulate ? f32([n]) : f32Out([n]), act([t, n]), act([t, n])],
        { epsilon: 1e-5, accumulate }
      )
    ])
  ])

const ropes = (): ReadonlyArray<KernelCase> =>
  (
    [
      [1, 1, 2],
      [5, 3, 6],
      [9, 4, 64],
      [3, 2, 80]
    ] as const
  ).flatMap(([tokens, heads, headDim]) => {
    const table = f32(
      [tokens, headDim],
      Float32Array.from({ length: tokens * headDim }, (_, i) => (i % headDim < headDim / 2 ? Math.cos(i) : Math.sin(i)))
    )
    const width = heads * headDim
    const keys = Array.from({ length: 2 * tokens }, (_, i) => (i % 2 === 0 ? 5 : (i * 977) % 4001))
    const frequencies = Float32Array.from({ length: headDim / 2 }, (_, i) => 10_000 ** ((-2 * i) / headDim))
    return [
      kernelCase(
        ropeTableKernel,
        `${tokens} tokens, heads of ${headDim}`,
        [f32Out([tokens, headDim]), i32([tokens, 2], keys), f32([headDim / 2], frequencies)],
        { scale: 1.25 }
      ),
      ...either.flatMap((inverse) => [
        ...either.map((accumulate) =>
          kernelCase(
            ropeKernel,
            `${tokens} tokens, ${heads} heads of ${headDim}${inverse ? ", back" : ""}${added(accumulate)}`,
            [accumulate ? act([tokens, width]) : actOut([tokens, width]), act([tokens, width]), table],
            { heads, headDim, inverse, accumulate }
          )
        ),
        kernelCase(
          ropeKernel,
          `${tokens} tokens, ${heads} heads of ${headDim} in place${inverse ? ", back" : ""}`,
          [{ ...actOut([tokens, width]), is: 1 }, act([tokens, width]), table],
          { heads, headDim, inverse, accumulate: false }
        )
      ])
    ]
  })

const gatedUnits = ({ forward, backward, backwardWithY }: GatedKernels): ReadonlyArray<KernelCase> => {
  const wild = Float32Array.from({ length: 40 }, (_, i) => (i - 20) * 8) // where the exponential leaves its range
  const cases = (label: string, n: number, gates: Float32Array) => {
    const inputs = [act([n], gates), act([n])]
    return [
      kernelCase(forward, label, [actOut([n]), ...inputs], null),
      kernelCase(backward, label, [actOut([n]), actOut([n]), act([n]), ...inputs], null),
      kernelCase(backwardWithY, label, [actOut([n]), actOut([n]), actOut([n]), act([n]), ...inputs], null)
    ]
  }
  return [1, 3, 67, 4099]
    .flatMap((n) => cases(`${n} numbers`, n, randomValues(n, n, 6)))
    .concat(cases("large gates", 40, wild))
}

const dropouts = (): ReadonlyArray<KernelCase> =>
  [1, 4, 5, 67].flatMap((width) => {
    const keys = i32(
      [9, 2],
      Array.from({ length: 18 }, (_, i) => (i * 2_654_435) % 100_003)
    )
    const key = { seed: 0xfedcba98, step: 41, site: 0x89abcdef, width }
    return [
      kernelCase(dropoutKernel, `9 rows of ${width}`, [actOut([9, width]), act([9, width]), keys], {
        ...key,
        rate: 0.3,
        rows: 9,
        outRow: 0,
        xRow: 0,
        keyRow: 0,
        accumulate: false
      }),
      kernelCase(dropoutKernel, `rows of ${width} from elsewhere, added`, [act([7, width]), act([6, width]), keys], {
        ...key,
        rate: 0.75,
        rows: 4,
        outRow: 3,
        xRow: 1,
        keyRow: 5,
        accumulate: true
      }),
      kernelCase(dropoutKernel, `rate 0, ${width} columns`, [actOut([9, width]), act([9, width]), keys], {
        ...key,
        rate: 0,
        rows: 9,
        outRow: 0,
        xRow: 0,
        keyRow: 0,
        accumulate: false
      })
    ]
  })

const losses = (): ReadonlyArray<KernelCase> =>
  [1, 5, 64, 1003].flatMap((vocab) =>
    either.flatMap((gradient) => {
      const targets = i32([6], [0, vocab - 1, -1, vocab >> 1, -100, 0])
      const plain = { gradient, softCap: 0, smoothing: 0, vocab }
      const whole = { ...plain, row0: 0, rows: 6 }
      const large = Float32Array.from(randomValues(6 * vocab, vocab), (v) => 300 * v) // beyond what exp of an f32 holds
      return [
        kernelCase(crossEntropyRows, `6 rows of ${vocab}`, [f32Out([6]), act([6, vocab]), targets], whole),
        kernelCase(crossEntropyRows, `large logits, ${vocab}`, [f32Out([6]), act([6, vocab], large), targets], whole),
        kernelCase(crossEntropyRows, `rows 2 to 4 of ${vocab}`, [f32([6]), act([3, vocab]), targets], {
          ...plain,
          row0: 2,
          rows: 3
        }),
        ...(gradient
          ? [
              kernelCase(
                crossEntropyRows,
                `the gradient apart, ${vocab}`,
                [f32Out([6]), act([6, vocab]), targets, f32([6, vocab])],
                whole
              )
            ]
          : []),
        ...(
          [
            [1.5, 0],
            [0, 0.1],
            [2, 0.25]
          ] as const
        ).map(([softCap, smoothing]) =>
          kernelCase(
            crossEntropyRows,
            `${vocab}, cap ${softCap}, smoothed ${smoothing}`,
            [f32Out([6]), act([6, vocab]), targets],
            { ...whole, softCap, smoothing },
            { floor: vocab === 1 ? 1 : 0 } // one logit's gradient is 0
          )
        )
      ]
    })
  )

const caps = (): ReadonlyArray<KernelCase> =>
  SHAPES.map(([t, n]) => kernelCase(softCapKernel, `[${t}, ${n}]`, [act([t, n])], { softCap: 0.5 }))

const embeddings = (): ReadonlyArray<KernelCase> =>
  [1, 5, 67].flatMap((width) =>
    either.map((accumulate) =>
      kernelCase(
        gatherGradient,
        `ids that repeat, rows of ${width}${added(accumulate)}`,
        [
          accumulate ? f32([11, width]) : f32Out([11, width]),
          act([40, width]),
          i32(
            [40],
            Array.from({ length: 40 }, (_, t) => (t * t) % 11)
          )
        ],
        { accumulate }
      )
    )
  )

const noises = (): ReadonlyArray<KernelCase> =>
  [...SHAPES, [2, 1030] as const].map(([t, n]) =>
    kernelCase(
      uniformNoise,
      `[${t}, ${n}]`,
      [
        actOut([t, n]),
        act([t, n]),
        i32(
          [t, 2],
          Array.from({ length: 2 * t }, (_, i) => 31 * i)
        ),
        f32(
          [t],
          Array.from({ length: t }, (_, i) => 0.1 + i / 16)
        )
      ],
      { seed: 4_000_000_000, step: 3, site: 77 }
    )
  )
const hits = (): ReadonlyArray<KernelCase> =>
  (
    [
      [1, 1],
      [4, 5],
      [3, 1100]
    ] as const
  ).map(([rows, vocab]) => {
    const logits = Array.from({ length: rows * vocab }, (_, i) => ((i * 37) % 101) / 128) // with equals among them
    const first = Array.from({ length: rows }, (_, t) => {
      const row = logits.slice(t * vocab, (t + 1) * vocab)
      return t % 3 === 2 ? row.lastIndexOf(Math.max(...row)) : row.indexOf(Math.max(...row))
    })
    return kernelCase(
      topIsTarget,
      `${rows} rows of ${vocab}`,
      [f32([rows + 2]), act([rows, vocab], logits), i32([rows + 2], [0, -1, ...first].slice(0, rows + 2))],
      { row0: 2, rows, vocab },
      { exact: true }
    )
  })

export const networkCases = (): ReadonlyArray<KernelCase> => [
  ...norms(),
  ...ropes(),
  ...gatedUnits(swigluKernels),
  ...gatedUnits(gegluKernels),
  ...dropouts(),
  ...noises(),
  ...losses(),
  ...caps(),
  ...hits(),
  ...embeddings()
]
