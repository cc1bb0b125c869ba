/**
 * Fused pairs beside the ops that they replace: forward and backward of queries, keys and values, and of the feed-forward
 * network, with adapters of rank 16 on all linears, dense bf16 weights. All sides in turns, the best of the rounds; memory is
 * the plan's at its peak, without weights. GRAFT_SHAPE names one shape, GRAFT_THREADS the threads.
 */
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import {
  type AdaptedWeight,
  add,
  denseCodec,
  Graph,
  loraMlp,
  loraQkv,
  MetaQueue,
  type Overrides,
  type Queue,
  Scope,
  sourceOf,
  swiglu,
  type Tensor
} from "@graft/core"
import { fusedLoraLinear, fusedLoraMlp, fusedLoraQkv } from "@graft/fused-kernels"
import { figureLines } from "./measure/lines.ts"
import { peakOf } from "./measure/peakOf.ts"

const ROUNDS = 5
const RANK = 16
const figures = figureLines("fused")
const native = loadNative()
const info = native.info()
const threads = Number(process.env["GRAFT_THREADS"] ?? info.cores)
const table = (...pairs: ReadonlyArray<typeof fusedLoraLinear>): Overrides =>
  new Map(pairs.map((pair) => [pair.op, pair]))
const sides = {
  composed: table(),
  "loraLinear fused": table(fusedLoraLinear),
  fused: table(fusedLoraLinear, fusedLoraQkv, fusedLoraMlp)
} as const

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

/** One forward and backward, on any queue. */
const prepare = (queue: Queue, scope: Scope, { tokens, hidden, inner, keys }: Shape, op: "loraQkv" | "loraMlp") => {
  const make = (name: string, shape: ReadonlyArray<number>) => {
    const t = scope.tensor(shape, name)
    queue.upload(t, () => Float32Array.from({ length: t.size }, (_, i) => 0.01 * Math.sin(i * 12.9898)))
    return t
  }
  const leaves: Array<readonly [Tensor, Tensor]> = []
  const trained = (name: string, shape: ReadonlyArray<number>) => {
    const t = make(name, shape)
    leaves.push([t, scope.tensor(shape, `d ${name}`)])
    return t
  }
  const x = trained("x", [tokens, hidden])
  const adapted = (out: number, width: number): AdaptedWeight => ({
    weight: denseCodec().encode(
      sourceOf("w", [out, width], () => new Float32Array(out * width).fill(0.01), "bf16"),
      scope,
      "w"
    ),
    segments: [{ start: 0, rows: tokens, a: trained("a", [RANK, width]), b: trained("b", [out, RANK]), scale: 1 }]
  })
  const linears =
    op === "loraQkv"
      ? ([adapted(hidden, hidden), adapted(keys, hidden), adapted(keys, hidden)] as const)
      : ([adapted(inner, hidden), adapted(inner, hidden), adapted(hidden, inner)] as const)
  const gradients = new Map(leaves)
  const dys = linears.map(({ weight }) => make("dy", [tokens, op === "loraQkv" ? weight.outFeatures : hidden]))
  const flops = linears.reduce(
    (sum, { weight: w }) =>
      sum + 4 * tokens * (w.outFeatures * w.inFeatures + 1.5 * RANK * (w.outFeatures + w.inFeatures)),
    0
  )
  const run = (overrides: Overrides): void => {
    using g = new Graph(queue, { overrides })
    g.watch(...gradients.keys())
    const leaf = (t: Tensor) => ({ tensor: gradients.get(t)!, accumulate: false })
    if (op === "loraMlp") return g.backward(loraMlp(g, x, ...linears, swiglu), dys[0]!, leaf)
    // One root for three outputs, that hands each its gradient.
    const join = g.record(
      "join",
      {
        forward: (inside, ...outs: ReadonlyArray<Tensor>) => {
          const out = inside.tensor([1], "joined")
          return { out, saved: { outs } }
        },
        backward: (inside, _, { outs }, into) => {
          for (const [i, t] of outs.entries()) {
            const d = into(t)
            if (d !== undefined) inside.run(add, [d.tensor, dys[i]!, dys[i]!], { scale: 1 })
          }
        }
      },
      loraQkv(g, x, ...linears)
    )
    g.backward(join, scope.tensor([1], "one"), leaf)
  }
  return { run, flops }
}

const only = process.env["GRAFT_SHAPE"]
for (const shape of shapes.filter(({ name }) => only === undefined || name === only)) {
  for (const op of ["loraQkv", "loraMlp"] as const) {
    const peaks = new Map(
      Object.entries(sides).map(([side, overrides]) => {
        const meta = new MetaQueue(cpuLimits(info, threads))
        using scope = new Scope(meta, "weights")
        prepare(meta, scope, shape, op).run(overrides)
        const { byCategory } = meta.plan
        return [side, (byCategory.get("activations") ?? 0) + (byCategory.get("gradients") ?? 0)]
      })
    )
    const queue = new CpuQueue(native, [2 ** 31], cpuLimits(info, threads), { threads, isa: info.isa })
    {
      using scope = new Scope(queue, "weights")
      const { run, flops } = prepare(queue, scope, shape, op)
      const best = new Map<string, number>()
      const peak = peakOf("f32", threads)
      for (let round = 0; round <= ROUNDS; round++) {
        for (const [side, overrides] of Object.entries(sides)) {
          const at = performance.now()
          run(overrides)
          await queue.idle()
          const seconds = (performance.now() - at) / 1000
          if (round > 0) best.set(side, Math.min(best.get(side) ?? Number.POSITIVE_INFINITY, seconds))
        }
      }
      for (const [side, seconds] of best) {
        const memory = `${((peaks.get(side) ?? 0) / 1e6).toFixed(1)} MB; ${(best.get("composed")! / seconds).toFixed(2)} × composed`
        const rate = {
          threads,
          what: `${op}, ${shape.name}, ${side}`,
          value: flops / seconds,
          unit: "GFLOP/s"
        } as const
        figures.add({ ...rate, digits: 1, share: flops / seconds / peak, of: "peak", note: memory })
      }
    }
    await queue.close()
  }
}
figures.write()
