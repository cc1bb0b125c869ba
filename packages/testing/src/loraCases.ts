/** Calls of `loraQkv` and `loraMlp` for tests: adapters on any subset, with dropout, by rows, outputs that nobody reads. */
import {
  type AdaptedWeight,
  attention,
  denseCodec,
  type GatedUnit,
  geglu,
  loraMlp,
  loraQkv,
  type Scope,
  sourceOf,
  swiglu,
  type Tensor
} from "@graft/core"
import type { OpCase, OpInput } from "./OpCase.ts"
import { randomValues, tensorOf } from "./tensorOf.ts"

const [TOKENS, HIDDEN, INNER, KEYS] = [7, 8, 10, 4]
const frozen = (scope: Scope, out: number, inner: number, seed: number) =>
  denseCodec().encode(
    sourceOf("w", [out, inner], () => randomValues(out * inner, seed)),
    scope,
    "w"
  )
interface Adapted {
  readonly name: string
  readonly out: number
  readonly inner: number
  readonly rank: number
}
/** How the adapters of a case lie. */
interface Way {
  readonly label: string
  readonly dropout?: number
  /** Two adapters, each with rows of its own. */
  readonly split?: boolean
}
const ways: ReadonlyArray<Way> = [
  { label: "" },
  { label: ", dropout", dropout: 0.4 },
  { label: ", two adapters", split: true },
  { label: ", two adapters and dropout", split: true, dropout: 0.4 }
]
const shares = (split = false) => (split ? ["", "2"] : [""])
const inputsOf = (linears: ReadonlyArray<Adapted>, split?: boolean): ReadonlyArray<OpInput> =>
  linears.flatMap(({ name, out, inner, rank }) =>
    shares(split).flatMap((n) => [
      { name: `${name}.a${n}`, shape: [rank, inner], parameter: true },
      { name: `${name}.b${n}`, shape: [out, rank], parameter: true }
    ])
  )
/** The linears with the given parameters, in the order of `inputsOf`; row 3 has no adapter where two share the rows. */
const linearsOf = (
  scope: Scope,
  all: ReadonlyArray<Adapted>,
  adapted: ReadonlyArray<Adapted>,
  { dropout: rate, split = false }: Way
) => {
  const weights = all.map(({ out, inner }, i) => frozen(scope, out, inner, 20 + i))
  const keys = Array.from({ length: 2 * TOKENS }, (_, i) => i)
  const rowKeys = tensorOf(scope, "rowKeys", [TOKENS, 2], keys, "i32")
  return (parameters: ReadonlyArray<Tensor>): ReadonlyArray<AdaptedWeight> => {
    let at = 0
    return all.map((linear, i) => {
      const weight = weights[i]!
      if (!adapted.includes(linear)) return { weight, segments: [] }
      const segments = shares(split).map((_, part) => {
        const [a, b] = [parameters[at++]!, parameters[at++]!]
        const rows = split ? [3, 3][part]! : TOKENS
        const key = rate === undefined ? {} : { dropout: { rate, seed: 1, step: 2, site: i, rowKeys } }
        return { start: part * 4, rows, a, b, scale: 2 - part, ...key }
      })
      return { weight, segments }
    })
  }
}
const x: OpInput = { name: "x", shape: [TOKENS, HIDDEN] }

const qkv: ReadonlyArray<Adapted> = [
  { name: "q", out: 2 * KEYS, inner: HIDDEN, rank: 3 },
  { name: "k", out: KEYS, inner: HIDDEN, rank: 2 },
  { name: "v", out: KEYS, inner: HIDDEN, rank: 3 }
]
/** What becomes of queries, keys and values. */
const readings = {
  "": (scope: Scope) => {
    const segments = tensorOf(scope, "segments", [2, 4], [0, 4, 0, 4, 4, 3, 4, 3], "i32")
    const sizes = { heads: 2, kvHeads: 1, headDim: KEYS, scale: 0.5 }
    return (g: Parameters<typeof attention>[0], [q, k, v]: readonly [Tensor, Tensor, Tensor]) =>
      attention(g, q, k, v, segments, sizes)
  },
  ", v unread":
    () =>
    (g: Parameters<typeof swiglu>[0], [, k]: readonly [Tensor, Tensor, Tensor]) =>
      swiglu(g, k, k)
}
const qkvCase = (adapted: ReadonlyArray<Adapted>, way: Way, reading: keyof typeof readings): OpCase => ({
  name: `loraQkv of ${adapted.map(({ name }) => name).join(", ") || "none"}${way.label}${reading}`,
  inputs: [x, ...inputsOf(adapted, way.split)],
  prepare: (scope) => {
    const linears = linearsOf(scope, qkv, adapted, way)
    const read = readings[reading](scope)
    return (g, [t, ...parameters]) => {
      const [q, k, v] = linears(parameters) as [AdaptedWeight, AdaptedWeight, AdaptedWeight] // as many as `qkv`
      return read(g, loraQkv(g, t!, q, k, v))
    }
  }
})

const mlp: ReadonlyArray<Adapted> = [
  { name: "gate", out: INNER, inner: HIDDEN, rank: 3 },
  { name: "up", out: INNER, inner: HIDDEN, rank: 2 },
  { name: "down", out: HIDDEN, inner: INNER, rank: 3 }
]
const mlpCase = (adapted: ReadonlyArray<Adapted>, way: Way, unit: GatedUnit): OpCase => ({
  name: `loraMlp with ${unit.opName} of ${adapted.map(({ name }) => name).join(", ") || "none"}${way.label}`,
  inputs: [x, ...inputsOf(adapted, way.split)],
  prepare: (scope) => {
    const linears = linearsOf(scope, mlp, adapted, way)
    return (g, [t, ...parameters]) => {
      const [gate, up, down] = linears(parameters) as [AdaptedWeight, AdaptedWeight, AdaptedWeight] // as many as `mlp`
      return loraMlp(g, t!, gate, up, down, unit)
    }
  }
})

export const loraCases: ReadonlyArray<OpCase> = [
  ...ways.map((way) => qkvCase(qkv, way, "")),
  qkvCase([], ways[0]!, ""),
  qkvCase([qkv[0]!, qkv[2]!], ways[1]!, ""),
  qkvCase(qkv, ways[0]!, ", v unread"),
  ...ways.map((way) => mlpCase(mlp, way, swiglu)),
  mlpCase(mlp, ways[0]!, geglu),
  mlpCase([], ways[0]!, geglu),
  mlpCase([mlp[2]!], ways[0]!, swiglu),
  mlpCase([mlp[0]!], ways[1]!, swiglu),
  mlpCase([mlp[1]!, mlp[2]!], ways[1]!, geglu)
]
