/**
 * What Graft uses of TensorFlow.js, as a structure: `tfjs-node-gpu`, `tfjs-node`, `tfjs` and `tfjs-core` all have it, so none
 * is imported here. Every op is one kernel that WebAssembly, the CPU and tfjs-node-gpu have; `kernels.test.ts` compares names.
 */

/** A value on the device; ops make new ones and never change one. */
export interface Handle {
  readonly shape: ReadonlyArray<number>
}
export type Numbers = "float32" | "int32"

/** The ops that kernel bodies are written in: of tensors, or of their shapes alone (see ShapeOps.ts). */
export interface Ops<T> {
  /** Whether a matrix is multiplied faster after it was transposed for it: WebAssembly has a fast product for A·B alone. */
  readonly transposesFirst: boolean
  /** Frees what `body` makes and does not return. */
  tidy<R extends T | ReadonlyArray<T>>(body: () => R): R
  fill(shape: Array<number>, value: number, dtype: Numbers): T
  add(a: T, b: T): T
  sub(a: T, b: T): T
  mul(a: T, b: T): T
  div(a: T, b: T): T
  maximum(a: T, b: T): T
  minimum(a: T, b: T): T
  equal(a: T, b: T): T
  greater(a: T, b: T): T
  where(condition: T, a: T, b: T): T
  abs(x: T): T
  cos(x: T): T
  exp(x: T): T
  expm1(x: T): T
  floor(x: T): T
  isFinite(x: T): T
  log(x: T): T
  sigmoid(x: T): T
  sin(x: T): T
  sqrt(x: T): T
  tanh(x: T): T
  cast(x: T, dtype: Numbers): T
  sum(x: T, axis: number, keepDims: boolean): T
  max(x: T, axis: number, keepDims: boolean): T
  matMul(a: T, b: T, transposeA: boolean, transposeB: boolean): T
  reshape(x: T, shape: Array<number>): T
  transpose(x: T, permutation: Array<number>): T
  slice(x: T, begin: Array<number>, size: Array<number>): T
  concat(parts: Array<T>, axis: number): T
  pad(x: T, paddings: Array<[number, number]>): T
  gather(x: T, indices: T, axis: number): T
  /** Zeros of `shape` with the rows of `updates` at `indices` [n, 1], which are distinct. */
  scatterND(indices: T, updates: T, shape: Array<number>): T
}

/** A tensor of TensorFlow.js. */
export interface Tensor extends Handle {
  readonly dtype: string
  data(): Promise<ArrayLike<number> & ArrayBufferView>
  dataSync(): ArrayLike<number> & ArrayBufferView
  dispose(): void
}
/** The ops of the module: their own types allow lists of numbers and any container of tensors. */
type OpNames = { readonly [K in Exclude<keyof Ops<Tensor>, "transposesFirst">]: (...operands: never) => unknown }
/** The module that the user imported. */
export interface TensorFlow extends OpNames {
  tensor(values: never, shape: Array<number>, dtype: Numbers): unknown
  keep(t: never): unknown
  memory(): { readonly numTensors: number; readonly numBytes: number }
  getBackend(): string
  setBackend(name: string): Promise<boolean>
  ready(): Promise<void>
  enableProdMode?(): void
  /** tfjs-node's backend says whether it has a GPU. */
  backend?(): object
}
export interface Device extends Ops<Tensor> {
  tensor(values: Float32Array | Int32Array, shape: Array<number>, dtype: Numbers): Tensor
  keep(t: Tensor): Tensor
}
/** The module as this package calls it, on a backend. */
export const deviceOf = (tf: TensorFlow, backend: string): Device =>
  ({ ...tf, transposesFirst: transposesFirst(backend) }) as unknown as Device // each op is named above: tensors in, tensors out
export const transposesFirst = (backend: string): boolean => backend === "wasm"
