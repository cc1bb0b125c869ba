/**
 * Several adapters in one pass: the documents of a micro-batch lie end to end once for each adapter, [adapters · tokens], and
 * each frozen product is one product of all these rows, with an adapter's segment over its own. Documents attend to
 * themselves alone, random numbers are keyed by sample and position, and a product's rows do not depend on their company
 * (docs/kernels.md, Bits), so each adapter gets the bits that it would have alone. The head and its losses are by adapter:
 * logits are made in chunks of rows, which must fall as they do alone.
 */
import {
  addInto,
  addRows,
  collate,
  definePrimitive,
  fill,
  Graph,
  type Linear,
  loraLinear,
  loraMlp,
  loraQkv,
  type MicroBatch,
  type Model,
  type Queue,
  Routed,
  Scope,
  Tensor,
  tokensIn
} from "@graft/core"
import { withNoise } from "./neftune.ts"
import { BATCH } from "./origins.ts"
import type { Gathering, Recipe } from "./Session.ts"
import { summedLoss } from "./summedLoss.ts"

export interface Stack {
  readonly adapters: number
  /** Whether a micro-batch of so many tokens is to go through the base once for all. */
  readonly takes: (tokens: number) => boolean
  /** Forward and backward of all adapters, in their order. */
  readonly pass: (gathered: ReadonlyArray<Gathering>, step: number, documents: MicroBatch) => void
}

/** Products of so few rows have ways of their own, with other bits than the same rows among many. */
const FEW_ROWS = 8
/** Where products are bound by arithmetic the passes are no faster together, and hold their activations all at once. */
const STACKED_TOKENS = 256

/**
 * Whether an adapter of all rows is added before a sum is rounded, and one of some rows to what is rounded already: so fused
 * pairs do where activations are not f32. The bits differ then, and a share smaller than the sum's last place is lost.
 */
const roundsBetween = ({ compute, overrides }: Recipe): boolean =>
  compute !== "f32" && [loraLinear, loraQkv, loraMlp].some(({ opName }) => overrides.has(opName))

/** `tables` holds what each adapter made of the `frozen` linears. Undefined where one of them is no sum with segments. */
export const stackOf = (
  queue: Queue,
  recipe: Recipe,
  model: Model,
  frozen: ReadonlyArray<Linear>,
  tables: ReadonlyArray<ReadonlyArray<Linear>>
): Stack | undefined => {
  const linears = frozen.map((base, i) =>
    stackedLinear(
      base,
      tables.map((table) => table[i]!)
    )
  )
  if (tables.length < 2 || linears.some((linear) => linear === undefined)) return undefined
  const {
    overrides,
    compute: activations,
    seed,
    checkpointing,
    attentionAgain,
    neftuneAlpha: alpha = 0,
    labelSmoothing
  } = recipe
  const most = recipe.stackedTokens ?? STACKED_TOKENS
  return {
    adapters: tables.length,
    takes: (tokens) => tokens > FEW_ROWS && tokens <= most && !roundsBetween(recipe),
    pass: (gathered, step, documents) => {
      for (const linear of linears) if (linear !== undefined) model.linears.replace(linear.path, () => linear)
      queue.origin = BATCH
      using inBatch = new Scope(queue, "activations")
      const context = { seed, step, training: true }
      const all = gathered.flatMap(() => documents)
      const batch = collate(inBatch, all, context)
      const alone = collate(inBatch, documents, context)
      const one = inBatch.tensor([1], "one")
      queue.enqueue(fill, [one], { value: 1 })
      const table = alpha > 0 ? withNoise(overrides, inBatch, all, batch, alpha) : overrides
      using g = new Graph(queue, { overrides: table, activations })
      for (const { leaves } of gathered) g.watch(...leaves)
      const { residency } = gathered[0]!.session
      const hidden = model.forward(g, batch, { residency, checkpointing, attentionAgain })
      const rows = tokensIn(documents)
      const parts = gathered.map(({ loss }, i) => {
        const own = partRows(g, hidden, i * rows, rows)
        const part = summedLoss(g, own, model, alone, labelSmoothing)
        addInto(g, loss, part, { accumulate: true })
        return part
      })
      const sinks = gathered.map(({ sink }) => sink())
      g.backward(
        parts.reduce((a, b) => addRows(g, a, b, 0, 1)),
        one,
        (t) => {
          for (const { leaf } of sinks) {
            const destination = leaf(t)
            if (destination !== undefined) return destination
          }
          return undefined
        }
      )
      for (const { finish } of sinks) finish()
    }
  }
}

/** One product for the rows of all adapters; undefined where an adapter changes the linear in another way. */
const stackedLinear = (base: Linear, bound: ReadonlyArray<Linear>): Linear | undefined => {
  const { path, weight } = base
  const adapted = bound.filter((linear) => linear !== base)
  if (adapted.length === 0) return base
  if (weight instanceof Tensor || adapted.some(({ segments }) => segments === undefined)) return undefined
  const segments: NonNullable<Linear["segments"]> = (batch, start, rows) => {
    const each = rows / bound.length
    return bound.flatMap((linear, i) =>
      linear === base || linear.segments === undefined ? [] : linear.segments(batch, start + i * each, each)
    )
  }
  return { path, weight, segments, forward: (g, x, batch) => loraLinear(g, x, weight, segments(batch, 0, x.rows)) }
}

/** Rows of x, whose parts are taken of all of it: so each writes its own rows of the gradient, and nothing is zeroed. */
const partRows = definePrimitive("partRows", {
  forward: (g, x: Tensor, start: number, rows: number) => {
    const out = g.tensor([rows, x.columns], "partRows")
    addInto(g, out, x, { rows, xRow: start })
    return { out, saved: { x: new Routed(x), start } }
  },
  backward: (g, dy, { x, start }, into) => {
    const dx = into(x.tensor)
    if (dx !== undefined) addInto(g, dx.tensor, dy, { outRow: start })
  }
})
