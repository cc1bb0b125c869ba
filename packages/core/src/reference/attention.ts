import type { Kernel, View } from "../Queue.ts"
import type { Tensor } from "../Tensor.ts"

export interface AttentionSizes {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly scale: number
  /** Each query sees its last `window` keys; 0 or left out: all (arXiv:2310.06825 §2). */
  readonly window?: number
  /** c > 0: scores become c · tanh(score / c); 0 or left out: as they are (arXiv:2408.00118 §2). */
  readonly softCap?: number
}
type AttentionParams = Required<AttentionSizes>
const FIELDS = ["heads", "kvHeads", "headDim", "scale", "window", "softCap"] as const

/** A query row and head with the keys that it sees; their attention weights lie in the workspace. `keyAt` is the offset of the first key's head. */
type Visit = (queryAt: number, keyAt: number, keys: number, row: number, head: number, logSum: number) => void
/** Query i of a segment sees its keys up to i + (key length − query length), of them the last `window`. */
const eachQuery = (q: View, k: View, segments: View, p: AttentionParams, weights: Float32Array, visit: Visit): void => {
  const { heads, kvHeads, headDim, scale, window, softCap } = p
  const qWidth = heads * headDim
  const kWidth = kvHeads * headDim
  for (let s = 0; s < segments.length; s += 4) {
    const q0 = segments[s]!
    const queries = segments[s + 1]!
    const key0 = segments[s + 2]!
    const past = segments[s + 3]! - queries
    for (let i = 0; i < queries; i++) {
      for (let h = 0; h < heads; h++) {
        const keys = window > 0 ? Math.min(window, past + i + 1) : past + i + 1
        const queryAt = (q0 + i) * qWidth + h * headDim
        const keyAt = (key0 + past + i + 1 - keys) * kWidth + Math.floor((h * kvHeads) / heads) * headDim
        let top = -Infinity
        let sum = 0
        for (let j = 0; j < keys; j++) {
          let dot = 0
          for (let c = 0; c < headDim; c++) dot += q[queryAt + c]! * k[keyAt + j * kWidth + c]!
          weights[j] = softCap > 0 ? softCap * Math.tanh((dot * scale) / softCap) : dot * scale
          top = Math.max(top, weights[j]!)
        }
        for (let j = 0; j < keys; j++) sum += weights[j] = Math.exp(weights[j]! - top)
        for (let j = 0; j < keys; j++) weights[j]! /= sum
        visit(queryAt, keyAt, keys, q0 + i, h, Math.log(sum) + top)
      }
    }
  }
}
const check =
  (at: number) =>
  (operands: ReadonlyArray<Tensor>, { heads, kvHeads, headDim, window, softCap }: AttentionParams) => {
    const [q, k, v, segments] = operands.slice(at)
    if (heads % kvHeads !== 0) return `${heads} heads over ${kvHeads} key heads`
    if (!(window >= 0 && softCap >= 0)) return `window ${window} and softCap ${softCap}: wanted 0 or more`
    return (
      (q!.columns !== heads * headDim ||
        k!.columns !== kvHeads * headDim ||
        v!.columns !== kvHeads * headDim ||
        k!.rows !== v!.rows ||
        segments!.columns !== 4) &&
      "widths differ"
    )
  }
/** A number for each query and head, and two rows of keys. */
const workspaceBytes =
  (at: number) =>
  (operands: ReadonlyArray<Tensor>, { heads }: AttentionParams) =>
    4 * (operands[at]!.rows * heads + 2 * operands[at + 1]!.rows)

/**
 * out = softmax(scale · q kᵀ) v within segments, causal; q [tokens, heads·headDim], k and v [keys, kvHeads·headDim], head h
 * reads key head ⌊h·kvHeads/heads⌋ (arXiv:2305.13245). lse [tokens, heads] = log Σ exp(scale · q k), for backward.
 */
export const attentionKernel: Kernel<AttentionParams> = {
  name: "attention",
  outputs: 2,
  fields: FIELDS,
  dtypes: ["act", "f32", "act", "act", "act", "i32"],
  workspaceBytes: workspaceBytes(2),
  check: check(2),
  reference: ([out, lse, q, k, v, segments], p, w) => {
    out!.fill(0)
    lse!.fill(0)
    const kWidth = p.kvHeads * p.headDim
    eachQuery(q!, k!, segments!, p, w, (queryAt, keyAt, keys, row, head, logSum) => {
      lse![row * p.heads + head] = logSum
      for (let j = 0; j < keys; j++) {
        for (let c = 0; c < p.headDim; c++) out![queryAt + c]! += w[j]! * v![keyAt + j * kWidth + c]!
      }
    })
  }
}
/** With P = softmax, D = rowsum(dout · out):  dv = Pᵀ dout,  dS = P (dout vᵀ − D) · scale (· 1 − (s/c)² under a cap c),  dq = dS k,  dk = dSᵀ q. */
export const attentionBackward: Kernel<AttentionParams> = {
  name: "attentionBackward",
  outputs: 3,
  fields: FIELDS,
  dtypes: ["act", "act", "act", "act", "act", "f32", "act", "act", "act", "i32"],
  workspaceBytes: workspaceBytes(6),
  check: check(6),
  reference: ([dq, dk, dv, dout, , , q, k, v, segments], p, w) => {
    const half = w.length >> 1
    const kWidth = p.kvHeads * p.headDim
    for (const d of [dq, dk, dv]) d!.fill(0)
    eachQuery(q!, k!, segments!, p, w, (at, keyAt, keys) => {
      let mean = 0
      for (let j = 0; j < keys; j++) {
        let dot = 0
        for (let c = 0; c < p.headDim; c++) dot += dout![at + c]! * v![keyAt + j * kWidth + c]!
        w[half + j] = dot
        mean += w[j]! * dot
      }
      for (let j = 0; j < keys; j++) {
        const key = keyAt + j * kWidth
        let ds = w[j]! * (w[half + j]! - mean) * p.scale
        if (p.softCap > 0) {
          let dot = 0
          for (let c = 0; c < p.headDim; c++) dot += q![at + c]! * k![key + c]!
          ds *= 1 - Math.tanh((dot * p.scale) / p.softCap) ** 2
        }
        for (let c = 0; c < p.headDim; c++) {
          dv![key + c]! += w[j]! * dout![at + c]!
          dk![key + c]! += ds * q![at + c]!
          dq![at + c]! += ds * k![key + c]!
        }
      }
    })
  }
}
