/** `loraQkv` and `loraMlp` against torch's autograd in f64 (torch.nn.functional.silu, gelu by tanh), composed and fused. */
import test from "node:test"
import {
  type AdaptedWeight,
  denseCodec,
  type GatedUnit,
  Graph,
  geglu,
  loraMlp,
  loraQkv,
  type Overrides,
  type Scope,
  sourceOf,
  swiglu,
  type Tensor
} from "@graft/core"
import { assertClose, onReference, tensorOf } from "@graft/testing"
import { fusedLoraMlp } from "./fusedLoraMlp.ts"
import { fusedLoraQkv } from "./fusedLoraQkv.ts"

const [TOKENS, HIDDEN, INNER, RANK, SCALE] = [3, 4, 6, 2, 1.5]
/** The numbers that the oracle was given. */
const numbers = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => (((i * 7 + seed * 5) % 13) - 6) / 8)
const golden: Readonly<Record<string, ReadonlyArray<number>>> = {
  "swiglu y": [
    0.29417618, 0.17422692, 0.072976512, -0.067199943, -0.56042275, 0.82314688, 0.44726095, 0.18697469, -0.39991265,
    0.63745603, 0.085812985, 0.13171705
  ],
  "swiglu dx": [
    0.57703852, -0.15934457, 0.018507183, 0.17386331, 0.9940626, -1.1920475, 0.72993252, -1.3180254, -1.0624235,
    0.90237832, -0.58027481, 1.0355212
  ],
  "swiglu gate.a": [0.19260003, -0.083375385, 0.22319485, 0.039625923, 0.13676225, 0.26698418, 0.10927454, 0.27420082],
  "swiglu gate.b": [
    -0.25595581, -0.55114067, 0.02231084, -0.017950487, 0.026598474, 0.056346693, 0.055205396, 0.037168128,
    -0.022553761, -0.013197819, -0.25135353, -0.075366355
  ],
  "swiglu up.a": [
    -0.10154933, -0.24498131, -0.10997077, -0.05944212, -0.053982826, 0.48906144, -0.013928739, -0.25425326
  ],
  "swiglu up.b": [
    -0.0080528582, 0.21402235, 0.0028873694, -0.0097779256, -0.027316452, -0.064618957, 0.073482894, 0.1255987,
    -0.14559872, -0.16575061, 0.092242331, 0.10271216
  ],
  "swiglu down.a": [
    -0.22127836, 0.05333961, 0.066292313, 0.11385116, 0.01438678, -0.11229216, -0.086075696, -0.010918948, -0.056851827,
    -0.089887611, -0.11076852, 0.056788033
  ],
  "swiglu down.b": [
    -0.15552531, 0.052552366, 0.062409495, -0.078450424, -0.037791882, 0.048911281, 0.18014293, -0.082091508
  ],
  "geglu y": [
    0.33926325, 0.20123484, 0.081024901, -0.07660377, -0.5886689, 0.994808, 0.60279458, 0.23249069, -0.39177233,
    0.76649127, 0.25326419, 0.17603825
  ],
  "geglu dx": [
    0.66890516, -0.18545304, 0.027175046, 0.19295475, 1.1584652, -1.4087801, 0.87756652, -1.5284466, -1.163619,
    1.1119906, -0.71641321, 1.2608987
  ],
  "geglu gate.a": [0.16794866, -0.083603206, 0.18754726, 0.069955684, 0.14933815, 0.32664349, 0.11563696, 0.3178441],
  "geglu gate.b": [
    -0.29192727, -0.63321543, 0.016767373, -0.026819086, 0.043353137, 0.057542172, -0.022099498, -0.016844731,
    -0.00033698861, 0.0084476019, -0.16450121, 0.0029402495
  ],
  "geglu up.a": [
    -0.1178426, -0.27267821, -0.12678028, -0.073154204, -0.056427423, 0.53081211, -0.0067631672, -0.3047487
  ],
  "geglu up.b": [
    -0.0085583928, 0.24740822, 0.0044484973, -0.0087377255, -0.011132919, -0.041283809, 0.048533642, 0.081756718,
    -0.14236465, -0.16453571, 0.0865752, 0.096427598
  ],
  "geglu down.a": [
    -0.25509169, 0.056905761, 0.038028281, 0.076254855, -0.014711602, -0.10536188, -0.099007573, -0.011994016,
    -0.038294588, -0.058527942, -0.10876021, 0.053234535
  ],
  "geglu down.b": [
    -0.19247695, 0.073598146, 0.061394164, -0.069518368, -0.043103116, 0.053809462, 0.210768, -0.089307052
  ],
  "qkv q": [
    -0.10351562, -0.15234375, 0.001953125, -0.046875, 1.09375, 0.22460938, -0.44140625, -0.90429688, 1.046875,
    0.068359375, -0.70703125, -0.87304688
  ],
  "qkv k": [0.0048828125, -0.084960938, -1.1972656, 0.60742188, -0.88867188, 0.42382812],
  "qkv v": [-1.0449219, -0.66796875, 0.15039062, -0.8046875, 0.53320312, -0.96679688],
  "qkv dx": [
    0.26367188, 0.5703125, -0.29101562, 1.5390625, -0.75976562, 1.2578125, -1.7011719, 0.53222656, -0.99609375,
    0.77734375, 0.037109375, 0.05859375
  ],
  "qkv q.a": [-0.19628906, -0.01171875, -0.16992188, -0.328125, 0.19042969, 0.1640625, 0.25195312, -0.1171875],
  "qkv q.b": [0.26367188, 0.35742188, 0.10253906, -0.16113281, 0.017578125, 0.08203125, -0.14355469, -0.43652344],
  "qkv k.a": [-0.052734375, 0.20214844, 0.0, -0.31640625, -0.01171875, -0.084960938, -0.08203125, 0.33984375],
  "qkv k.b": [0.50683594, 0.46582031, -0.60058594, -0.46582031],
  "qkv v.a": [-0.096679688, 0.37792969, -0.099609375, -0.08203125, 0.25488281, -0.85253906, 0.28710938, 0.09375],
  "qkv v.b": [1.3447266, 1.5380859, -0.36621094, -0.073242188]
}

/** W, A and B from seeds seed, seed + 1 and seed + 2. */
const adapted = (scope: Scope, out: number, inner: number, seed: number): AdaptedWeight => ({
  weight: denseCodec().encode(
    sourceOf("w", [out, inner], () => Float32Array.from(numbers(out * inner, seed))),
    scope,
    "w"
  ),
  segments: [
    {
      start: 0,
      rows: TOKENS,
      a: tensorOf(scope, "a", [RANK, inner], numbers(RANK * inner, seed + 1)),
      b: tensorOf(scope, "b", [out, RANK], numbers(out * RANK, seed + 2)),
      scale: SCALE
    }
  ]
})
const parametersOf = (names: ReadonlyArray<string>, linears: ReadonlyArray<AdaptedWeight>) =>
  linears.flatMap(({ segments: [only] }, i) => [
    [`${names[i]}.a`, only!.a] as const,
    [`${names[i]}.b`, only!.b] as const
  ])

for (const [way, overrides] of [
  ["composed", new Map()],
  ["fused", new Map([fusedLoraQkv, fusedLoraMlp].map((pair) => [pair.op, pair]))]
] as const) {
  const unitTest = (unit: GatedUnit) =>
    test(`loraMlp with ${unit.opName} is torch's, ${way}`, () =>
      onReference(async (queue, scope) => {
        const x = tensorOf(scope, "x", [TOKENS, HIDDEN], numbers(TOKENS * HIDDEN, 1))
        const linears = [
          adapted(scope, INNER, HIDDEN, 2),
          adapted(scope, INNER, HIDDEN, 6),
          adapted(scope, HIDDEN, INNER, 10)
        ] as const
        const named = [["dx", x] as const, ...parametersOf(["gate", "up", "down"], linears)]
        const gradients = new Map(named.map(([name, t]) => [t, scope.tensor(t.shape, name)]))
        using g = new Graph(queue, { overrides: overrides as Overrides })
        g.watch(...gradients.keys())
        const y = loraMlp(g, x, ...linears, unit)
        const value = queue.read(y)
        const dy = tensorOf(scope, "dy", [TOKENS, HIDDEN], numbers(TOKENS * HIDDEN, 3))
        g.backward(y, dy, intoEach(gradients))
        assertClose(await value, golden[`${unit.opName} y`]!, 2e-6, "y")
        for (const [name, t] of named)
          assertClose(await queue.read(gradients.get(t)!), golden[`${unit.opName} ${name}`]!, 2e-6, name)
      }))
  unitTest(swiglu)
  unitTest(geglu)

  test(`loraQkv is torch's, ${way}`, () =>
    onReference(async (queue, scope) => {
      const x = tensorOf(scope, "x", [TOKENS, HIDDEN], numbers(TOKENS * HIDDEN, 1))
      const linears = [
        adapted(scope, 4, HIDDEN, 2),
        adapted(scope, 2, HIDDEN, 6),
        adapted(scope, 2, HIDDEN, 10)
      ] as const
      const names = ["q", "k", "v"]
      const named = [["dx", x] as const, ...parametersOf(names, linears)]
      const gradients = new Map(named.map(([name, t]) => [t, scope.tensor(t.shape, name)]))
      // Each output's gradient in turn: they add up to that of the three.
      const sums = new Map(named.map(([name, t]) => [name, new Float32Array(t.size)]))
      for (const [i, name] of names.entries()) {
        using g = new Graph(queue, { overrides: overrides as Overrides })
        g.watch(...gradients.keys())
        const y = loraQkv(g, x, ...linears)[i]!
        const value = queue.read(y)
        const dy = tensorOf(scope, "dy", y.shape, numbers(y.size, 3 + i))
        const asked = intoEach(gradients)
        const written = new Set<Tensor>()
        g.backward(y, dy, (t) => {
          written.add(t)
          return asked(t)
        })
        assertClose(await value, golden[`qkv ${name}`]!, 2e-6, name)
        for (const [path, t] of named) {
          if (!written.has(t)) continue
          const part = await queue.read(gradients.get(t)!)
          for (const [at, v] of part.entries()) sums.get(path)![at]! += v
        }
      }
      for (const [name, sum] of sums) assertClose(sum, golden[`qkv ${name}`]!, 2e-6, name)
    }))
}

const intoEach = (gradients: ReadonlyMap<Tensor, Tensor>) => {
  const written = new Set<Tensor>()
  return (t: Tensor) => {
    const tensor = gradients.get(t)
    if (tensor === undefined) return undefined
    const accumulate = written.has(t)
    written.add(t)
    return { tensor, accumulate }
  }
}
