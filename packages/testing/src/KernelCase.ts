/** One call of a kernel: operands by shape and dtype, values, parameters. A backend runs it beside the reference. */
import { type DType, type Kernel, type Queue, sizeOf, type Tensor } from "@graft/core"
import { randomValues } from "./tensorOf.ts"

export interface OperandSpec {
  readonly shape: ReadonlyArray<number>
  /** The dtypes that it may have. */
  readonly dtypes: ReadonlyArray<DType>
  /** What it holds beforehand. An output without is NaN. */
  readonly values?: ArrayLike<number>
  /** Index of the operand that this one is: y may be x. */
  readonly is?: number
}
export interface KernelCase {
  readonly kernel: string
  readonly title: string
  readonly operands: ReadonlyArray<OperandSpec>
  readonly outputs: number
  /** Equal to the reference in every bit: nothing is computed, or one rounding. */
  readonly exact: boolean
  /** A case that takes long runs with two mixes of dtypes only. */
  readonly large: boolean
  /** Results below this are what is left of terms that cancel. */
  readonly floor: number
  readonly enqueue: (queue: Queue, operands: ReadonlyArray<Tensor>) => void
}

let seeds = 0
/** An activation, f32 or bf16, with random values unless others are given. */
export const act = (shape: ReadonlyArray<number>, values?: ArrayLike<number>): OperandSpec => ({
  shape,
  dtypes: ["f32", "bf16"],
  values: values ?? randomValues(sizeOf(shape), ++seeds)
})
/** An activation that is written: NaN beforehand. */
export const actOut = (shape: ReadonlyArray<number>): OperandSpec => ({ shape, dtypes: ["f32", "bf16"] })
export const f32 = (shape: ReadonlyArray<number>, values?: ArrayLike<number>): OperandSpec => ({
  ...act(shape, values),
  dtypes: ["f32"]
})
export const f32Out = (shape: ReadonlyArray<number>): OperandSpec => ({ shape, dtypes: ["f32"] })
export const i32 = (shape: ReadonlyArray<number>, values: ArrayLike<number>): OperandSpec => ({
  shape,
  dtypes: ["i32"],
  values
})
/** A gain or a dense weight in any float dtype. */
export const stored = (shape: ReadonlyArray<number>): OperandSpec => ({ ...act(shape), dtypes: ["f32", "bf16", "f16"] })

export const kernelCase = <P>(
  kernel: Kernel<P>,
  title: string,
  operands: ReadonlyArray<OperandSpec>,
  params: P,
  { exact = false, large = false, floor = 0 }: Partial<Pick<KernelCase, "exact" | "large" | "floor">> = {}
): KernelCase => ({
  kernel: kernel.name,
  title,
  operands,
  outputs: kernel.outputs,
  exact,
  large,
  floor,
  enqueue: (queue, tensors) => queue.enqueue(kernel, tensors, params)
})

/**
 * The mixes of dtypes to try: all of them where they are few; else all alike, outputs apart from inputs, and alternating.
 * `available` says what the backend has.
 */
export const mixesOf = (
  { operands, outputs, large }: KernelCase,
  available: (dtype: DType) => boolean
): ReadonlyArray<ReadonlyArray<DType>> => {
  const choices = operands.map(({ dtypes }) => dtypes.filter(available))
  if (choices.some((c) => c.length === 0)) return []
  const chosen = (index: (operand: number) => number): ReadonlyArray<DType> => {
    const free = choices.map((c, i) => c[index(i) % c.length]!)
    return free.map((dtype, i) => free[operands[i]!.is ?? i] ?? dtype)
  }
  const all = choices.reduce<ReadonlyArray<ReadonlyArray<DType>>>(
    (rows, c) => rows.flatMap((row) => c.map((dtype) => [...row, dtype])),
    [[]]
  )
  const few = [
    chosen(() => 0),
    chosen(() => 1),
    chosen(() => 2),
    chosen((i) => (i < outputs ? 1 : 0)),
    chosen((i) => (i < outputs ? 0 : 1)),
    chosen((i) => i),
    chosen((i) => i + 1)
  ]
  const aliased = operands.some(({ is }) => is !== undefined)
  const wanted = large ? few.slice(0, 2) : all.length <= 8 && !aliased ? all : few
  return [...new Map(wanted.map((mix) => [mix.join(), mix])).values()]
}
