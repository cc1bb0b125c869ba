/** How fast a weight multiplies on a device, beside the machine's register-only peak of the same moments. */
import { type Backend, denseCodec, fill, type Limits, MetaQueue, type Queue, Scope, sourceOf } from "@graft/core"
import { Effect } from "effect"

/** y [tokens, out] = x [tokens, in] Wᵀ */
export interface GemmShape {
  readonly tokens: number
  readonly in: number
  readonly out: number
}
export interface GemmRate {
  /** Floating-point operations a second, the best of the rounds. */
  readonly rate: number
  /** The best peak measured between them. */
  readonly peak: number
}
type Format = "f32" | "bf16"

const ROUNDS = 3

const setUp = (queue: Queue, scope: Scope, { tokens, in: inner, out }: GemmShape, format: Format) => {
  const tensor = (rows: number, columns: number, name: string) => {
    const t = scope.tensor([rows, columns], name, format)
    queue.enqueue(fill, [t], { value: 0.01 })
    return t
  }
  const x = tensor(tokens, inner, "x")
  const y = tensor(tokens, out, "y")
  const weight = denseCodec().encode(
    sourceOf("w", [out, inner], () => ({ length: out * inner }), format),
    scope,
    "w"
  )
  for (const t of weight.storage) queue.enqueue(fill, [t], { value: 0.01 })
  return () => weight.apply(y, x)
}

const arenas = (limits: Limits, shape: GemmShape, format: Format): ReadonlyArray<number> => {
  const queue = new MetaQueue(limits)
  using scope = new Scope(queue, "activations")
  setUp(queue, scope, shape, format)()
  return queue.plan.arenaBytes
}

export const measureGemm = (
  backend: Backend["Service"],
  shape: GemmShape,
  format: Format,
  peak: () => number
): Effect.Effect<GemmRate, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const queue = yield* backend.open(arenas(backend.limits, shape, format))
      const scope = yield* Effect.acquireDisposable(Effect.sync(() => new Scope(queue, "activations")))
      const multiply = setUp(queue, scope, shape, format)
      const wait = Effect.promise(() => queue.idle())
      multiply() // the first touches the memory
      yield* wait
      let best: GemmRate = { rate: 0, peak: peak() }
      for (let round = 0; round < ROUNDS; round++) {
        const began = performance.now()
        multiply()
        yield* wait
        const seconds = (performance.now() - began) / 1000
        const rate = (2 * shape.tokens * shape.in * shape.out) / seconds
        best = { rate: Math.max(best.rate, rate), peak: Math.max(best.peak, peak()) }
      }
      return best
    })
  )
