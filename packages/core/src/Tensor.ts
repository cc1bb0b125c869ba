/**
 * A tensor is a shape over a cell of some queue; a scope owns tensors and frees them together. Every tensor has exactly
 * one owner. Lifetimes: a scope for the model, one per step (the graph's), one per composed op or layer.
 */
import type { Category, Cell } from "./Allocator.ts"
import { bytesOf, type DType } from "./dtype.ts"
import type { Queue } from "./Queue.ts"
import type { SourceTensor } from "./TensorSource.ts"

/**
 * - `live`: has memory.
 * - `ghost`: made while the queue was muted; it has a shape but never any memory (see checkpoint.ts).
 * - `evicted`: a weight whose layer is not resident now (see Residency in Model.ts).
 * - `freed`: an error to use.
 */
export type State = "live" | "ghost" | "evicted" | "freed"

export const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((a, b) => a * b, 1)

export class Tensor {
  readonly shape: ReadonlyArray<number>
  readonly dtype: DType
  readonly name: string
  readonly size: number
  /** First element within the cell; not 0 for a range of a flat arena. */
  readonly start: number
  state: State
  scope: Scope | undefined
  /** Of a ghost: where its bytes lie, for who gives it memory later. */
  source?: SourceTensor
  #cell: Cell | undefined

  constructor(
    shape: ReadonlyArray<number>,
    dtype: DType,
    name: string,
    cell: Cell | undefined,
    scope: Scope | undefined,
    start = 0
  ) {
    this.shape = shape
    this.dtype = dtype
    this.name = name
    this.size = sizeOf(shape)
    this.start = start
    this.state = cell === undefined ? "ghost" : "live"
    this.scope = scope
    this.#cell = cell
  }
  get rows(): number {
    return this.shape[0] ?? 1
  }
  get columns(): number {
    return this.rows === 0 ? 0 : this.size / this.rows
  }
  get bytes(): number {
    return this.size * bytesOf[this.dtype]
  }
  get cell(): Cell | undefined {
    return this.#cell
  }
  /** Where its bytes begin within its arena. */
  get byteOffset(): number {
    return (this.#cell?.offset ?? 0) + this.start * bytesOf[this.dtype]
  }
  /** A part of a flat arena, [start, start + size). It owns nothing: the arena does. Needs a backend with views. */
  range(start: number, shape: ReadonlyArray<number>, name: string): Tensor {
    return new Tensor(shape, this.dtype, name, this.#cell, undefined, this.start + start)
  }
  /** Gives the memory up but keeps the identity: for weights that come and go. */
  moveTo(cell: Cell | undefined): void {
    this.#cell = cell
    this.state = cell === undefined ? "evicted" : "live"
  }
}

export class Scope implements Disposable {
  readonly queue: Queue
  readonly category: Category
  readonly #owned = new Set<Tensor>()
  constructor(queue: Queue, category: Category) {
    this.queue = queue
    this.category = category
  }
  get owned(): ReadonlySet<Tensor> {
    return this.#owned
  }
  tensor(shape: ReadonlyArray<number>, name: string, dtype: DType = "f32", category: Category = this.category): Tensor {
    if (shape.some((n) => !Number.isSafeInteger(n) || n < 0)) throw new RangeError(`${name}: [${shape}] is not a shape`)
    const bytes = this.queue.limits.heldBytes?.(sizeOf(shape), dtype) ?? sizeOf(shape) * bytesOf[dtype]
    const t = new Tensor(shape, dtype, name, this.queue.muted ? undefined : this.queue.allocate(bytes, category), this)
    this.#owned.add(t)
    return t
  }
  free(t: Tensor): void {
    if (!this.#owned.delete(t)) throw new ReferenceError(`internal: ${t.name} is freed by a scope that does not own it`)
    if (t.state === "live" && t.cell !== undefined) this.queue.free(t.cell)
    t.state = "freed"
  }
  /** Hands `t` to `parent`, so that it outlives this scope. */
  move(t: Tensor, parent: Scope): void {
    this.#owned.delete(t)
    parent.#owned.add(t)
    t.scope = parent
  }
  [Symbol.dispose](): void {
    for (const t of [...this.#owned].reverse()) this.free(t)
  }
}
