/** A kernel with its operands, as its body in tfjs ops sees it. The same body runs over tensors and over shapes. */
import type { Handle, Numbers, Ops } from "./TensorFlow.ts"

export interface Call<T> {
  readonly tf: Ops<T>
  /** Operands, outputs first. */
  readonly shapes: ReadonlyArray<ReadonlyArray<number>>
  /** Operand `i` in a shape, its own as [rows, columns] when left out. Bytes come as they are held (see storage.ts). */
  readonly at: (i: number, shape?: ReadonlyArray<number>) => T
  readonly number: (name: string) => number
  readonly flag: (name: string) => boolean
  /** The values of an i32 operand, known to the host since it uploaded them; `plan` stands for them where only shapes are known. */
  readonly integers: (i: number, plan: () => ArrayLike<number>) => ArrayLike<number>
  /** Values of the host; a plan does not make them. */
  readonly upload: (make: () => Float32Array | Int32Array, shape: Array<number>, dtype?: Numbers) => T
  /** A constant that stays on the device, made once. */
  readonly constant: (name: string, make: () => Float32Array, shape: Array<number>) => T
}
/** Work in several parts, between which the event loop may have a turn; `join` makes the outputs of what they made. */
export interface Parts<T> {
  readonly parts: ReadonlyArray<() => ReadonlyArray<T>>
  readonly join: (made: ReadonlyArray<ReadonlyArray<T>>) => ReadonlyArray<T>
}
/** The new values of the outputs, in their order, in any shape of their size. */
export type Body = <T extends Handle>(call: Call<T>) => ReadonlyArray<T> | Parts<T>
export const isParts = <T>(result: ReadonlyArray<T> | Parts<T>): result is Parts<T> => "parts" in result

export const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((a, b) => a * b, 1)
export const rowsOf = <T>({ shapes }: Call<T>, i: number): number => shapes[i]![0] ?? 1
export const columnsOf = <T>({ shapes }: Call<T>, i: number): number => sizeOf(shapes[i]!.slice(1))
/** A number of rank 0, and a vector for every row: tfjs repeats these quickly where sides of 1 are slow. */
export const scalar = <T>(tf: Ops<T>, value: number): T => tf.fill([], value, "float32")

/** A·B of matrices, or of as many matrices of each. */
export const product = <T extends Handle>(tf: Ops<T>, a: T, b: T, transposeA: boolean, transposeB: boolean): T => {
  if (!tf.transposesFirst || a.shape.length > 2) return tf.matMul(a, b, transposeA, transposeB)
  const plain = (x: T, transposed: boolean) => (transposed ? tf.transpose(x, [1, 0]) : x)
  return tf.tidy(() => tf.matMul(plain(a, transposeA), plain(b, transposeB), false, false))
}
/** Rows [first, first + rows) of a matrix; the matrix itself where these are all. */
export const rowsFrom = <T extends Handle>(tf: Ops<T>, x: T, first: number, rows: number): T =>
  first === 0 && rows === x.shape[0] ? x : tf.slice(x, [first, 0], [rows, x.shape[1]!])

/** Output 0 with `piece` in its rows from `first` on; the others stay. */
export const placed = <T extends Handle>(call: Call<T>, piece: T, first: number, i = 0): T => {
  const all = rowsOf(call, i)
  const rows = piece.shape[0]!
  if (rows === all) return piece
  const old = call.at(i)
  const { tf } = call
  const parts = [
    ...(first > 0 ? [rowsFrom(tf, old, 0, first)] : []),
    ...(rows > 0 ? [piece] : []),
    ...(first + rows < all ? [rowsFrom(tf, old, first + rows, all - first - rows)] : [])
  ]
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 0)
}
/** `piece`, on top of rows of output `i` where the call accumulates. */
export const added = <T extends Handle>(call: Call<T>, piece: T, first = 0, i = 0): T =>
  call.flag("accumulate") && piece.shape[0] !== 0
    ? call.tf.add(rowsFrom(call.tf, call.at(i), first, piece.shape[0]!), piece)
    : piece
/** A whole output. */
export const whole = <T extends Handle>(call: Call<T>, value: T, i = 0): T =>
  added(call, call.tf.reshape(value, [rowsOf(call, i), columnsOf(call, i)]), 0, i)

/** Σ x by halves, each in f32 with the error kept apart (Knuth's TwoSum): as good as a sum in f64. x [n] → [1]. */
export const preciseSum = <T extends Handle>(tf: Ops<T>, x: T): T => {
  let sums = x
  let errors: T | undefined
  while (sums.shape[0]! > 1) {
    const n = sums.shape[0]!
    const half = Math.ceil(n / 2)
    const split = (t: T) => [
      tf.slice(t, [0], [half]),
      n % 2 === 0
        ? tf.slice(t, [half], [half])
        : tf.concat([tf.slice(t, [half], [n - half]), tf.fill([1], 0, "float32")], 0)
    ]
    const [next, rest] = tf.tidy(() => {
      const [a, b] = split(sums) as [T, T] // two by construction
      const sum = tf.add(a, b)
      const back = tf.sub(sum, a)
      const lost = tf.add(tf.sub(a, tf.sub(sum, back)), tf.sub(b, back))
      if (errors === undefined) return [sum, lost]
      const [e, f] = split(errors) as [T, T] // two by construction
      return [sum, tf.add(lost, tf.add(e, f))]
    }) as [T, T] // what it returns above
    sums = next
    errors = rest
  }
  return errors === undefined ? sums : tf.add(sums, errors)
}
/** Numbers that are added up one after the other: rounding grows with their count. */
const RUN = 128
/** Σ x of numbers that do not cancel: runs of 128, then runs of their sums. x [n] → [1]. */
export const positiveSum = <T extends Handle>(tf: Ops<T>, x: T): T => {
  const n = x.shape[0]!
  if (n <= RUN) return tf.sum(x, 0, true)
  const full = n % RUN === 0 ? x : tf.pad(x, [[0, RUN - (n % RUN)]])
  return positiveSum(tf, tf.sum(tf.reshape(full, [full.shape[0]! / RUN, RUN]), 1, false))
}
