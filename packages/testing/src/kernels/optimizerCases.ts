/** sumSquares, clipControl, stepGuard, adamW, doraNorm: what an optimiser step and DoRA compute in f32. */
import { adamWKernel, clipControl, doraNormKernel, stepGuard, sumSquares } from "@graft/core"
import { act, f32, f32Out, type KernelCase, kernelCase } from "../KernelCase.ts"
import { randomValues } from "../tensorOf.ts"

const clips = (): ReadonlyArray<KernelCase> => {
  const clip = (title: string, partials: ReadonlyArray<number>, tokens: number, maxNorm: number) =>
    kernelCase(clipControl, title, [f32([4], [9, 9, 41, 9]), f32([partials.length], partials), f32([1], [tokens])], {
      maxNorm
    })
  return [
    clip("norm below the limit", [4, 5], 8, 1),
    clip("norm above the limit", [400, 500, 0], 2, 1),
    clip("no limit", [400], 2, 0),
    clip("a gradient that is NaN", [1, NaN, 2], 3, 1),
    clip("a gradient that overflows", [Infinity], 3, 0),
    clip("no token", [1], 0, 1),
    clip("a gradient of 0", [0, 0], 5, 1)
  ]
}
const guards = (): ReadonlyArray<KernelCase> => {
  const guard = (
    title: string,
    loss: number,
    { control = [0.5, 1, 8, 2], seen = 12, halted = 0, spike = 3, halts = true } = {}
  ) =>
    kernelCase(
      stepGuard,
      title,
      [f32([4], control), f32([3], [1.5, seen, 9]), f32([1], [halted]), f32([1], [loss]), f32([1], [4])],
      { spike, halts } // its mean is of several roundings, which an engine of f32 alone has too
    )
  return [
    guard("a good loss", 6),
    guard("the first loss", 6, { seen: 0 }),
    guard("the 40th loss", 5, { seen: 39 }),
    guard("a spike", 20),
    guard("a spike that does not halt", 20, { halts: false }),
    guard("no judgement before ten losses", 20, { seen: 9 }),
    guard("no limit", 20, { spike: 0 }),
    guard("behind a step that halted", 6, { halted: 1 }),
    guard("a loss that is NaN", NaN),
    guard("a gradient that is not finite", 6, { control: [0, 0, 7, NaN] })
  ]
}
const adamWs = (): ReadonlyArray<KernelCase> =>
  [1, 17, 1003, 70_001].flatMap((n) =>
    (
      [
        ["the first step", [0.5, 1, 1, 2]],
        ["step 1000", [0.125, 1, 1000, 2]],
        ["a step that is not finite", [0, 0, 7, NaN]]
      ] as const
    ).map(([title, control]) =>
      kernelCase(
        adamWKernel,
        `${title}, ${n} numbers`,
        [
          f32([n]),
          f32([n], randomValues(n, 5, 0.1)),
          f32(
            [n],
            randomValues(n, 6).map((v) => v * v)
          ),
          f32([n], randomValues(n, 8, 3)),
          f32([4], control)
        ],
        { learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
        { exact: control[1] === 0 }
      )
    )
  )

export const optimizerCases = (): ReadonlyArray<KernelCase> => [
  ...[1, 100, 4097, 70_001].map((n) => kernelCase(sumSquares, `${n} numbers`, [f32([3]), f32([n])], { slot: 1 })),
  ...clips(),
  ...guards(),
  ...adamWs(),
  ...(
    [
      [1, 1],
      [7, 3],
      [66, 16]
    ] as const
  ).map(([out, rank]) =>
    kernelCase(
      doraNormKernel,
      `[${out}] of rank ${rank}`,
      [
        f32Out([out]),
        f32(
          [out],
          randomValues(out, 3).map((v) => 40 + 20 * v)
        ),
        f32([out, rank]),
        act([rank, out]),
        f32([rank, rank])
      ],
      { scale: 0.5 }
    )
  )
]
