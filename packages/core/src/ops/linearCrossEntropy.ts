import type { Model } from "../Model.ts"
import { definePrimitive, Routed } from "../Op.ts"
import { crossEntropyRows, softCapKernel } from "../reference/crossEntropy.ts"
import { gemm, plainGemm } from "../reference/gemm.ts"
import { scaleRows } from "../reference/rows.ts"
import type { Graph } from "../Tape.ts"
import { Tensor } from "../Tensor.ts"
import { applyMatrix, applyMatrixTransposed, type Matrix, outFeatures } from "./linear.ts"
import { addInto } from "./rows.ts"

export interface LossOptions {
  /** See ModelDescription. */
  readonly softCap?: number
  /** The share of a target's weight that is spread over the whole vocabulary, as torch's label_smoothing. */
  readonly smoothing?: number
  /** How many targets are 0 or more, where the host knows it: a fused pair leaves the other rows out. */
  readonly supervised?: number
}
/** Logits of rows of a model's hidden states: the head's product, bent where the model bends it. */
export const applyHead = (
  g: Graph,
  logits: Tensor,
  x: Tensor,
  { head, description: { logitSoftCap: softCap = 0 } }: Pick<Model, "head" | "description">,
  rows?: { readonly xRow: number; readonly rows: number }
): void => {
  applyMatrix(g, logits, x, head, rows)
  if (softCap > 0) g.run(softCapKernel, [logits], { softCap })
}

/** Logits that exist at one time, in elements: 32 MiB of f32. */
const CHUNK_ELEMENTS = 1 << 23
const chunkRows = (head: Matrix): number => Math.max(1, Math.floor(CHUNK_ELEMENTS / outFeatures(head)))

/** Chunk by chunk: logits [rows, vocabulary] in f32, with the losses written and, on demand, turned into their own gradient. */
const eachChunk = (
  g: Graph,
  losses: Tensor,
  x: Tensor,
  head: Matrix,
  targets: Tensor,
  options: LossOptions & { readonly gradient: boolean },
  visit: (dLogits: Tensor, row0: number, rows: number) => void
): void => {
  const chunk = chunkRows(head)
  const vocab = outFeatures(head)
  const { gradient, softCap = 0, smoothing = 0 } = options
  for (let row0 = 0; row0 < x.rows; row0 += chunk) {
    const rows = Math.min(chunk, x.rows - row0)
    const logits = g.tensor([rows, vocab], "logits", "f32")
    applyMatrix(g, logits, x, head, { xRow: row0, rows })
    g.run(crossEntropyRows, [losses, logits, targets], { softCap, smoothing, gradient, row0, rows, vocab })
    if (gradient && g.activations !== "f32") {
      const rounded = g.tensor([rows, vocab], "d(logits)") // so that the head multiplies in the recipe's dtype
      addInto(g, rounded, logits)
      g.release(logits)
      visit(rounded, row0, rows)
      g.release(rounded)
    } else {
      if (gradient) visit(logits, row0, rows)
      g.release(logits)
    }
  }
}

/**
 * losses f32 [tokens] of x [tokens, hidden] under the head [vocabulary, hidden]; targets i32 [tokens], below 0: not learnt.
 * Logits are never whole. With a frozen head the forward makes the gradient of each row's own loss too, since the logits are
 * at hand (Liger Kernel, arXiv:2410.10989 §3); a trained head computes them again in backward, when dy is known.
 */
export const linearCrossEntropy = definePrimitive("linearCrossEntropy", {
  forward: (g, x: Tensor, head: Matrix, targets: Tensor, options: LossOptions = {}) => {
    const out = g.tensor([x.rows], "losses", "f32")
    const trained = head instanceof Tensor && g.needs(head)
    const dx = g.needs(x) && !trained ? g.tensor(x.shape, "linearCrossEntropy.dx") : undefined
    eachChunk(g, out, x, head, targets, { ...options, gradient: dx !== undefined }, (dLogits, row0, rows) => {
      if (dx !== undefined) applyMatrixTransposed(g, dx, dLogits, head, { yRow: row0, rows })
    })
    return { out, saved: { x: trained ? x : new Routed(x), head, targets, options, dx } }
  },
  backward: (g, dy, { x, head, targets, options, dx }, into) => {
    if (x instanceof Routed) {
      const d = into(x.tensor)
      if (d !== undefined && dx !== undefined) g.run(scaleRows, [d.tensor, dx, dy], { accumulate: d.accumulate })
      return
    }
    const losses = g.tensor([x.rows], "losses again", "f32")
    const dInput = into(x)
    eachChunk(g, losses, x, head, targets, { ...options, gradient: true }, (dLogits, row0, rows) => {
      const rowScales = g.tensor([rows, 1], "dy of the chunk", "f32")
      addInto(g, rowScales, dy, { width: 1, xRow: row0, rows })
      g.run(scaleRows, [dLogits, dLogits, rowScales], { accumulate: false })
      g.release(rowScales)
      if (dInput !== undefined)
        applyMatrixTransposed(g, dInput.tensor, dLogits, head, { yRow: row0, rows, accumulate: dInput.accumulate })
      const dw = head instanceof Tensor ? into(head) : undefined
      if (dw !== undefined) {
        const sizes = { m: outFeatures(head), k: rows, n: x.columns, ta: true, bRow: row0, accumulate: dw.accumulate }
        g.run(gemm, [dw.tensor, dLogits, x], { ...plainGemm, ...sizes })
      }
    })
    g.release(losses)
  }
})
