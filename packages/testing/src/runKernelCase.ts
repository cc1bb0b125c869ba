/** Runs one kernel case on one queue and reads everything back. */
import assert from "node:assert/strict"
import { type DType, type Queue, Scope, sizeOf, type Tensor } from "@graft/core"
import type { KernelCase } from "./KernelCase.ts"

/** Elements before and behind an operand that lies within a larger buffer: an odd place, so that nothing is aligned. */
const BEFORE = 3
const BEHIND = 5
/** Exact in every float dtype, and unlikely to be computed. */
const SENTINEL = 1.25

/**
 * The outputs. With `within`, operands are ranges of larger buffers: what surrounds an input is NaN, so that reading beyond
 * it shows; what surrounds an output must stay; inputs must stay too.
 */
export const runKernelCase = async (
  queue: Queue,
  { operands, outputs, enqueue, kernel, title }: KernelCase,
  mix: ReadonlyArray<DType>,
  within: boolean
): Promise<ReadonlyArray<Float32Array>> => {
  const scope = new Scope(queue, "activations")
  const buffers: Array<Tensor> = []
  const tensors: Array<Tensor> = []
  const before: Array<ArrayLike<number>> = []
  for (const [i, { shape, values, is }] of operands.entries()) {
    if (is !== undefined) continue
    const dtype = mix[i]!
    const size = sizeOf(shape)
    const padding = dtype === "i32" ? 0 : i < outputs ? SENTINEL : NaN
    const flat = new Array<number>(within ? BEFORE + size + BEHIND : size).fill(padding)
    for (let j = 0; j < size; j++) flat[j + (within ? BEFORE : 0)] = values?.[j] ?? NaN
    const buffer = scope.tensor(within ? [flat.length] : shape, `${kernel} operand ${i}`, dtype)
    queue.upload(buffer, () => flat)
    buffers[i] = buffer
    before[i] = flat
    tensors[i] = within ? buffer.range(BEFORE, shape, `${kernel} operand ${i}`) : buffer
  }
  const all = operands.map(({ is }, i) => tensors[is ?? i]!)
  const initial = buffers.map((t) => queue.read(t))
  enqueue(queue, all)
  const final = buffers.map((t) => queue.read(t))
  scope[Symbol.dispose]() // the reads are queued
  const [was, now] = [await settle(initial), await settle(final)]
  const written = operands.slice(0, outputs).map(({ is }, i) => is ?? i)
  for (const [i, { shape }] of operands.entries()) {
    if (now[i] === undefined) continue
    const inner = sizeOf(shape)
    const first = within ? BEFORE : 0
    for (let j = 0; j < now[i].length; j++) {
      if (written.includes(i) && j >= first && j < first + inner) continue
      if (now[i][j] === was[i]![j] || Object.is(now[i][j], was[i]![j])) continue
      assert.fail(
        `${kernel}, ${title} (${mix}): element ${j - first} of operand ${i} [${shape}] was ${was[i]![j]} and is ${now[i][j]}, although the kernel may not write it`
      )
    }
  }
  return written.map((i) => {
    const first = within ? BEFORE : 0
    return now[i]!.slice(first, first + sizeOf(operands[i]!.shape))
  })
}
/** Keeps the holes of a sparse list. */
const settle = async (reads: ReadonlyArray<Promise<Float32Array>>): Promise<ReadonlyArray<Float32Array | undefined>> =>
  Promise.all(reads)
