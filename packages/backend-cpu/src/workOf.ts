/**
 * The arithmetic and the memory of a command, from shapes: floating-point operations of products and attention (the rest is
 * bound by memory, and counts none), and the bytes of its operands, each once.
 */
import type { Command } from "@graft/core"

export interface Work {
  readonly flops: number
  readonly bytes: number
}
/** Pairs of a query and a key that it sees, in segments i32 [n, 4] (query start, queries, key start, keys). */
export const pairsIn = (segments: Int32Array, window: number): number => {
  let pairs = 0
  for (let s = 0; s + 3 < segments.length; s += 4) {
    const queries = segments[s + 1]!
    const past = segments[s + 3]! - queries
    if (window > 0) for (let i = 0; i < queries; i++) pairs += Math.min(window, past + i + 1)
    else pairs += queries * past + (queries * (queries + 1)) / 2
  }
  return pairs
}

/** `pairs`: of an attention kernel with this window, where its segments are known. */
export const workOf = ({ kernel, operands, params }: Command, pairs: (window: number) => number): Work => {
  const p = (params ?? {}) as Readonly<Record<string, number>> // by the kernel's own field names; absent ones are undefined
  const bytes = operands.reduce((sum, { tensor }) => sum + tensor.bytes, 0)
  const { name } = kernel
  const product = p.out !== undefined && p.in !== undefined && p.rows !== undefined
  if (name === "gemm") return { flops: 2 * p.m! * p.k! * p.n!, bytes }
  const wide = name.includes("Transposed") ? p.in : p.out
  if (product) return { flops: 2 * p.rows! * (p.out! * p.in! + (p.rank ?? 0) * wide!), bytes }
  const onPair = name === "attention" ? 4 : name === "attentionBackward" ? 10 : 0
  return { flops: onPair === 0 ? 0 : onPair * pairs(p.window ?? 0) * p.heads! * p.headDim!, bytes }
}
