/**
 * The ops over shapes alone: nothing is computed, and what would be in memory is counted. So a body says how much memory it
 * takes by being run, on the meta backend too. Reshaping shares memory, as in TensorFlow.js.
 */
import { sizeOf } from "./Call.ts"
import type { Handle, Ops } from "./TensorFlow.ts"

/** Memory that several shapes may share. */
interface Data {
  readonly bytes: number
  uses: number
}
export interface Shape extends Handle {
  readonly data: Data
}

export class ShapeOps implements Ops<Shape> {
  /** The most bytes at one time, of what the body makes. */
  peak = 0
  #live = 0
  #made: Array<Shape> = []
  readonly transposesFirst: boolean
  constructor(transposesFirst: boolean) {
    this.transposesFirst = transposesFirst
  }

  /** An operand: its memory is counted elsewhere. */
  operand(shape: ReadonlyArray<number>): Shape {
    return { shape, data: { bytes: 0, uses: 1 } }
  }
  #make(shape: ReadonlyArray<number>, bytesEach = 4): Shape {
    const data = { bytes: bytesEach * sizeOf(shape), uses: 0 }
    this.#live += data.bytes
    this.peak = Math.max(this.peak, this.#live)
    return this.#share(shape, data)
  }
  #share(shape: ReadonlyArray<number>, data: Data): Shape {
    data.uses++
    const made = { shape, data }
    this.#made.push(made)
    return made
  }
  #free({ data }: Shape): void {
    if (--data.uses === 0) this.#live -= data.bytes
  }
  tidy<R extends Shape | ReadonlyArray<Shape>>(body: () => R): R {
    const outer = this.#made
    this.#made = []
    const result = body()
    const kept = new Set<Shape>([result].flat() as Array<Shape>) // R is one or a list
    for (const made of this.#made) {
      if (kept.has(made)) outer.push(made)
      else this.#free(made)
    }
    this.#made = outer
    return result
  }
  /** Elementwise, the smaller shape repeated. */
  #broadcast(a: Shape, b: Shape, bytesEach = 4): Shape {
    const rank = Math.max(a.shape.length, b.shape.length)
    const side = (x: Shape, i: number) => x.shape[i - rank + x.shape.length] ?? 1
    return this.#make(
      Array.from({ length: rank }, (_, i) => Math.max(side(a, i), side(b, i))),
      bytesEach
    )
  }
  #same = (x: Shape): Shape => this.#make(x.shape)

  fill(shape: Array<number>): Shape {
    return this.#make(shape)
  }
  add = (a: Shape, b: Shape): Shape => this.#broadcast(a, b)
  sub = this.add
  mul = this.add
  div = this.add
  maximum = this.add
  minimum = this.add
  equal = (a: Shape, b: Shape): Shape => this.#broadcast(a, b, 1)
  greater = this.equal
  where(condition: Shape, a: Shape, b: Shape): Shape {
    return this.tidy(() => {
      const shape = this.#broadcast(this.#broadcast(condition, a), b)
      const all = [condition, a, b].map((x) =>
        sizeOf(x.shape) === sizeOf(shape.shape) ? x : this.#make(shape.shape, x === condition ? 1 : 4)
      )
      return all.length === 3 ? shape : condition
    })
  }
  abs = this.#same
  cos = this.#same
  exp = this.#same
  expm1 = this.#same
  floor = this.#same
  log = this.#same
  sigmoid = this.#same
  sin = this.#same
  sqrt = this.#same
  tanh = this.#same
  isFinite = (x: Shape): Shape => this.#make(x.shape, 1)
  cast = this.#same
  sum = (x: Shape, axis: number, keepDims: boolean): Shape =>
    this.#make(keepDims ? x.shape.map((n, i) => (i === axis ? 1 : n)) : x.shape.filter((_, i) => i !== axis))
  max = this.sum
  matMul(a: Shape, b: Shape, transposeA: boolean, transposeB: boolean): Shape {
    const outer = a.shape.slice(0, -2)
    return this.#make([...outer, a.shape.at(transposeA ? -1 : -2)!, b.shape.at(transposeB ? -2 : -1)!])
  }
  reshape(x: Shape, shape: Array<number>): Shape {
    const known = shape.reduce((n, side) => (side < 0 ? n : n * side), 1)
    return this.#share(
      shape.map((side) => (side < 0 ? sizeOf(x.shape) / known : side)),
      x.data
    )
  }
  transpose = (x: Shape, permutation: Array<number>): Shape => this.#make(permutation.map((i) => x.shape[i]!))
  slice = (_: Shape, __: Array<number>, size: Array<number>): Shape => this.#make(size)
  concat(parts: Array<Shape>, axis: number): Shape {
    const total = parts.reduce((n, { shape }) => n + shape[axis]!, 0)
    return this.#make(parts[0]!.shape.map((n, i) => (i === axis ? total : n)))
  }
  pad = (x: Shape, paddings: Array<[number, number]>): Shape =>
    this.#make(x.shape.map((n, i) => n + paddings[i]![0] + paddings[i]![1]))
  gather = (x: Shape, indices: Shape): Shape => this.#make([sizeOf(indices.shape), ...x.shape.slice(1)])
  scatterND = (_: Shape, __: Shape, shape: Array<number>): Shape => this.#make(shape)
}
