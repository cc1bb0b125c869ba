/** What a kernel's body takes besides its operands: the body itself, run over shapes. */
import { type Kernel, type Limits, sizeOf, type Tensor } from "@graft/core"
import { bodyOf } from "./bodyOf.ts"
import { type Call, isParts } from "./Call.ts"
import { roundToBf16 } from "./rounding.ts"
import { type Shape, ShapeOps } from "./ShapeOps.ts"
import { heldBytes, heldSize } from "./storage.ts"
import { transposesFirst } from "./TensorFlow.ts"

/** A shape with a −1 for what is left. */
export const completed = (shape: ReadonlyArray<number>, size: number): Array<number> => {
  const known = shape.reduce((n, side) => (side < 0 ? n : n * side), 1)
  return shape.map((side) => (side < 0 ? size / known : side))
}
/** Params are numbers and booleans by name. */
export const paramsOf = (params: unknown): Readonly<Record<string, number | boolean>> =>
  (params ?? {}) as Readonly<Record<string, number | boolean>> // core's Params

export const accessors = (params: unknown): Pick<Call<never>, "number" | "flag"> => {
  const named = paramsOf(params)
  return { number: (name) => Number(named[name]), flag: (name) => named[name] === true }
}

/** Known answers, by kernel and by shapes and parameters; forgotten when they become many. */
let known = new WeakMap<Kernel<never>, Map<string, number>>()
let asked = 0
const MOST = 10_000

export const workspaceOn =
  (backend: string): NonNullable<Limits["workspaceBytes"]> =>
  (kernel, operands, params) => {
    const first = transposesFirst(backend)
    if (++asked > MOST) {
      known = new WeakMap()
      asked = 0
    }
    const ofKernel = known.get(kernel) ?? new Map<string, number>()
    known.set(kernel, ofKernel)
    const key = `${first} ${operands.map((t) => `${t.dtype}${t.shape}${operands.indexOf(t)}`)} ${Object.values(paramsOf(params))}`
    const bytes = ofKernel.get(key) ?? countedBytes(kernel, operands, params, first)
    ofKernel.set(key, bytes)
    return bytes
  }
/** The results of a body take the place of the outputs, whose old values go once they are there. */
const countedBytes = (
  kernel: Kernel<never>,
  operands: ReadonlyArray<Tensor>,
  params: unknown,
  first: boolean
): number => {
  const body = bodyOf(kernel)
  if (body === undefined) return 0
  const tf = new ShapeOps(first)
  const call: Call<Shape> = {
    tf,
    ...accessors(params),
    shapes: operands.map(({ shape }) => shape),
    at: (i, shape) => {
      const { dtype, size, rows, columns } = operands[i]!
      const held = heldSize(size, dtype)
      return tf.operand(completed(shape ?? [rows, columns], held))
    },
    integers: (_, plan) => plan(),
    upload: (_, shape) => tf.fill(shape),
    constant: (_, __, shape) => tf.operand(shape)
  }
  tf.tidy(() => {
    const made = body(call)
    const results = isParts(made) ? made.join(made.parts.map((part) => tf.tidy(part))) : made
    return results.map((t, i) => (operands[i]!.dtype === "bf16" ? roundToBf16(tf, t) : t))
  })
  const kept = operands.slice(0, kernel.outputs).filter((t, i) => isFresh(kernel, params, operands, t, i))
  return Math.max(0, tf.peak - kept.reduce((n, { shape, dtype }) => n + heldBytes(sizeOf(shape), dtype), 0))
}
/** An output that no one reads before: its memory holds the result. */
const isFresh = (
  kernel: Kernel<never>,
  params: unknown,
  operands: ReadonlyArray<Tensor>,
  output: Tensor,
  index: number
): boolean =>
  paramsOf(params)["accumulate"] !== true &&
  kernel.inPlace?.includes(index) !== true &&
  !operands.slice(kernel.outputs).includes(output)
