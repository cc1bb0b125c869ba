/** Linears with adapters of rank 16 on each, dense bf16 weights. */
import { type AdaptedWeight, type GatedUnit, geglu, loraLinear, loraMlp, loraQkv, swiglu } from "@graft/core"
import { fusedLoraLinear, fusedLoraMlp, fusedLoraQkv } from "@graft/fused-kernels"
import { doraLinear, doraNorm } from "@graft/lora"
import type { Maker, PairCase } from "./PairCase.ts"

const RANK = 16
interface Shape {
  readonly name: string
  readonly tokens: number
  readonly hidden: number
  readonly inner: number
  readonly keys: number
}
const shapes: ReadonlyArray<Shape> = [
  { name: "135M", tokens: 2048, hidden: 576, inner: 1536, keys: 192 },
  { name: "7B", tokens: 512, hidden: 4096, inner: 11008, keys: 4096 }
]

type Linears = ReadonlyArray<readonly [out: number, inner: number]>
/** Product and gradient of the input with W, and three products with A and B each. */
const flopsOf = (tokens: number, linears: Linears): number =>
  linears.reduce((sum, [out, inner]) => sum + 4 * tokens * (out * inner + 1.5 * RANK * (out + inner)), 0)
const adaptedIn = (maker: Maker, tokens: number, rate = 0) => {
  const rowKeys = maker.given("rowKeys", [tokens, 2], "i32", (i) => i)
  return ([out, inner]: Linears[number], site = 0): AdaptedWeight => {
    const a = maker.trained("A", [RANK, inner], 1 / Math.sqrt(inner), "f32")
    const b = maker.trained("B", [out, RANK], 0.05, "f32")
    const key = rate === 0 ? {} : { dropout: { rate, seed: 1, step: 1, site, rowKeys } }
    return { weight: maker.frozen(out, inner), segments: [{ start: 0, rows: tokens, a, b, scale: 1, ...key }] }
  }
}

const linearCase = ({ name, tokens, hidden, inner }: Shape, rate = 0): PairCase => ({
  pair: `loraLinear${rate > 0 ? `, dropout ${rate}` : ""}`,
  shape: `${name}, ${tokens} × ${hidden} → ${inner}`,
  flops: flopsOf(tokens, [[inner, hidden]]),
  prepare: (maker) => {
    const x = maker.trained("x", [tokens, hidden])
    const { weight, segments } = adaptedIn(maker, tokens, rate)([inner, hidden])
    return maker.graph([], [fusedLoraLinear], (g) => [loraLinear(g, maker.arriving(g, x), weight, segments)])
  }
})
/** `loraLinear` within DoRA; the norm of W + BA is made anew in each forward, as in training. */
const doraCase = ({ name, tokens, hidden, inner }: Shape): PairCase => ({
  pair: "loraLinear, DoRA",
  shape: `${name}, ${tokens} × ${hidden} → ${inner}`,
  flops: flopsOf(tokens, [[inner, hidden]]) + 2 * RANK * hidden * inner,
  prepare: (maker) => {
    const x = maker.trained("x", [tokens, hidden])
    const { weight, segments } = adaptedIn(maker, tokens)([inner, hidden])
    const [segment] = segments as readonly [AdaptedWeight["segments"][number]] // of all tokens
    const magnitude = maker.trained("m", [inner], 1, "f32")
    const squares = maker.given("‖W‖²", [inner], "f32", () => 1 / 3)
    return maker.graph([], [fusedLoraLinear], (g) => {
      const norm = doraNorm(g, weight, segment.a, segment.b, segment.scale, squares)
      return [doraLinear(g, maker.arriving(g, x), weight, segment, magnitude, norm)]
    })
  }
})
const qkvCase = ({ name, tokens, hidden, keys }: Shape): PairCase => {
  const linears = [
    [hidden, hidden],
    [keys, hidden],
    [keys, hidden]
  ] as const
  return {
    pair: "loraQkv",
    shape: `${name}, ${tokens} × ${hidden} → ${hidden}, ${keys}, ${keys}`,
    flops: flopsOf(tokens, linears),
    prepare: (maker) => {
      const x = maker.trained("x", [tokens, hidden])
      const adapted = adaptedIn(maker, tokens)
      const [q, k, v] = [adapted(linears[0]), adapted(linears[1]), adapted(linears[2])]
      return maker.graph([], [fusedLoraQkv], (g) => loraQkv(g, maker.arriving(g, x), q, k, v))
    }
  }
}
const mlpCase = ({ name, tokens, hidden, inner }: Shape, unit: GatedUnit): PairCase => {
  const linears = [
    [inner, hidden],
    [inner, hidden],
    [hidden, inner]
  ] as const
  return {
    pair: `loraMlp, ${unit.opName === "geglu" ? "GeGLU" : "SwiGLU"}`,
    shape: `${name}, ${tokens} × ${hidden} → ${inner} → ${hidden}`,
    flops: flopsOf(tokens, linears),
    prepare: (maker) => {
      const x = maker.trained("x", [tokens, hidden])
      const adapted = adaptedIn(maker, tokens)
      const [gate, up, down] = [adapted(linears[0]), adapted(linears[1]), adapted(linears[2])]
      return maker.graph([], [fusedLoraMlp], (g) => [loraMlp(g, maker.arriving(g, x), gate, up, down, unit)])
    }
  }
}

export const loraPairs: ReadonlyArray<PairCase> = shapes.flatMap((shape) => [
  linearCase(shape),
  linearCase(shape, 0.1),
  doraCase(shape),
  qkvCase(shape),
  mlpCase(shape, swiglu),
  mlpCase(shape, geglu)
])
