/**
 * The arithmetic and the memory of a command, from shapes: floating-point operations of products and attention (the rest is
 * bound by memory, and counts none), and the bytes of its operands, each once, as far as it touches them.
 */
import { bytesOf, type Command } from "@graft/core"

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

type Numbers = Readonly<Record<string, number>>
const isProduct = (p: Numbers): boolean => p.out !== undefined && p.in !== undefined && p.rows !== undefined
const isTransposed = (name: string): boolean => name.includes("Transposed")

/** How many numbers a kernel touches of operand `i`, where these may be fewer than it has: windows, gathered rows, pages. */
const touchedIn = ({ kernel: { name }, operands }: Command, p: Numbers): ((i: number) => number | undefined) => {
  const sizes = (...n: ReadonlyArray<number | undefined>) => n.at.bind(n)
  const size = (i: number) => operands[i]!.tensor.size
  const rowsOfStorage = (from: number, rows: number) => (i: number) =>
    i < from ? undefined : (size(i) * rows) / p.out!
  if (name === "gemm") return sizes(p.m! * p.n!, p.m! * p.k!, p.k! * p.n!)
  if (isProduct(p)) {
    const [y, x] = isTransposed(name) ? [p.in!, p.out!] : [p.out!, p.in!]
    return sizes(p.rows! * y, p.rows! * x, p.rank === undefined ? undefined : p.rank * p.rows!)
  }
  if (name === "addScaled" || name === "dropout") return sizes(p.rows! * p.width!, p.rows! * p.width!)
  if (name === "takeRows") return sizes(undefined, size(0))
  if (name === "takeScaledRows") return sizes(undefined, (size(0) / operands[0]!.tensor.rows) * p.limit!)
  if (name.endsWith(".gatherRows")) return rowsOfStorage(2, size(1))
  if (name.endsWith(".dequantizeRows")) return rowsOfStorage(1, operands[0]!.tensor.rows)
  if (p.count !== undefined) return sizes(p.count, undefined, p.count) // an optimiser's page
  return () => undefined
}

/** `pairs`: of an attention kernel with this window, where its segments are known. */
export const workOf = (command: Command, pairs: (window: number) => number): Work => {
  const { kernel, operands, params } = command
  const p = (params ?? {}) as Numbers // by the kernel's own field names; absent ones are undefined
  const touched = touchedIn(command, p)
  const bytes = operands.reduce((sum, { tensor: { size, dtype } }, i) => {
    return sum + Math.min(size, touched(i) ?? size) * bytesOf[dtype]
  }, 0)
  const { name } = kernel
  if (name === "gemm") return { flops: 2 * p.m! * p.k! * p.n!, bytes }
  const wide = isTransposed(name) ? p.in : p.out
  if (isProduct(p)) return { flops: 2 * p.rows! * (p.out! * p.in! + (p.rank ?? 0) * wide!), bytes }
  const onPair = name === "attention" ? 4 : name === "attentionBackward" ? 10 : 0
  return { flops: onPair === 0 ? 0 : onPair * pairs(p.window ?? 0) * p.heads! * p.headDim!, bytes }
}
