/** One call of an op with the tensors that may be trained through it, and its forward and backward as one program. */
import {
  type ActivationDType,
  type DType,
  Graph,
  type Overrides,
  type Queue,
  Scope,
  sizeOf,
  type Tensor
} from "@graft/core"
import { gradientSink } from "@graft/trainer"
import { randomValues, tensorOf } from "./tensorOf.ts"

export interface OpInput {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  /** Random in [-1, 1) unless given. */
  readonly values?: ArrayLike<number>
  /** A parameter is f32 whatever the dtype of activations. */
  readonly parameter?: boolean
}
export type Apply = (g: Graph, inputs: ReadonlyArray<Tensor>) => Tensor
export interface OpCase {
  readonly name: string
  readonly inputs: ReadonlyArray<OpInput>
  /** Makes what is constant, and gives the call. */
  readonly prepare: (scope: Scope) => Apply
  readonly overrides?: Overrides
  /** Storage dtypes that it needs besides f32 and i32. */
  readonly needs?: ReadonlyArray<DType>
}

export interface Passes {
  readonly value: Promise<Float32Array>
  readonly gradients: ReadonlyArray<Promise<Float32Array>>
}
export const valuesOf = ({ inputs }: OpCase): ReadonlyArray<ArrayLike<number>> =>
  inputs.map(({ shape, values }, i) => values ?? randomValues(sizeOf(shape), 100 + i))

/** The same numbers wherever the gradient of an output of this size is needed. */
export const outputGradient = (size: number): Float32Array => randomValues(size, 99)

/** y = f(inputs) and the gradients of Σ y · dy for a fixed random dy. `rounds` of backward add up. */
export const forwardAndBackward = (
  queue: Queue,
  inputs: ReadonlyArray<Tensor>,
  apply: Apply,
  options: {
    readonly activations?: ActivationDType
    readonly overrides?: Overrides
    /** Indices of the inputs that are watched; all of them unless said. */
    readonly watched?: ReadonlyArray<number>
    readonly rounds?: number
  } = {}
): Passes => {
  const { watched = inputs.map((_, i) => i), rounds = 1, activations = "f32", overrides = new Map() } = options
  using scope = new Scope(queue, "gradients")
  const leaves = watched.map((i) => inputs[i]!)
  const pairs = leaves.map((t) => [t, scope.tensor(t.shape, `d ${t.name}`, t.dtype)] as const)
  let value: Promise<Float32Array> = Promise.resolve(new Float32Array(0))
  for (let round = 0; round < rounds; round++) {
    using g = new Graph(queue, { activations, overrides })
    g.watch(...leaves)
    const y = apply(g, inputs)
    const dy = tensorOf(scope, "dy", y.shape, outputGradient(y.size), y.dtype)
    value = queue.read(y)
    value.catch(() => {}) // whoever awaits reports it; the meta queue has no values
    const sink = gradientSink(queue, pairs, round > 0)
    g.backward(y, dy, sink.leaf)
    sink.finish()
    scope.free(dy)
  }
  const gradients = pairs.map(([, d]) => queue.read(d))
  for (const read of gradients) read.catch(() => {})
  return { value, gradients }
}

/** The case with tensors of its own, in `scope`. */
export const runOpCase = (
  queue: Queue,
  scope: Scope,
  one: OpCase,
  options: Omit<Parameters<typeof forwardAndBackward>[3] & object, "overrides"> = {}
): Passes => {
  const values = valuesOf(one)
  const tensors = one.inputs.map(({ name, shape, parameter = false }, i) =>
    tensorOf(scope, name, shape, values[i]!, parameter ? "f32" : (options.activations ?? "f32"))
  )
  return forwardAndBackward(queue, tensors, one.prepare(scope), {
    ...options,
    ...(one.overrides === undefined ? {} : { overrides: one.overrides })
  })
}
