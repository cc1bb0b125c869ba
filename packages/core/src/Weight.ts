/**
 * A frozen weight is a linear operator. A codec supplies storage and a panel source (fill one row of W); the five methods
 * follow from it, so a quantiser is one small file and no op ever names one. Natively the panel source is the C function
 * that GEMM calls while it packs.
 */
import type { Queue } from "./Queue.ts"
import { enqueueProduct, type WeightKernels } from "./reference/weightKernels.ts"
import type { Scope, Tensor } from "./Tensor.ts"
import type { SourceTensor, TensorFile } from "./TensorSource.ts"

/** A low-rank term of the same sum: + scale · h Bᵀ for y, B [out, rank]; + scale · h A for dx, A [rank, in]. */
export interface Tail {
  /** [rows, rank] from `hRow` on, where token 0 is the product's first; or, `transposed`, rows [hRow, hRow + rank) of [.., rows]. */
  readonly h: Tensor
  readonly hRow?: number
  readonly transposed?: boolean
  readonly factor: Tensor
  readonly scale?: number | undefined
}
/** Rows [xRow, xRow + rows) of the input go to rows [yRow, …) of the output; whole tensors when left out. */
export interface Window {
  readonly accumulate?: boolean
  readonly xRow?: number
  readonly yRow?: number
  readonly rows?: number
  readonly tail?: Tail | undefined
}

/** W [out, in]. */
export interface Weight {
  readonly codec: string
  readonly outFeatures: number
  readonly inFeatures: number
  readonly bytes: number
  /** What a residency moves in and out. */
  readonly storage: ReadonlyArray<Tensor>
  /** y [tokens, out] (+)= x [tokens, in] Wᵀ */
  apply(y: Tensor, x: Tensor, window?: Window): void
  /** dx [tokens, in] (+)= dy [tokens, out] W */
  applyTransposed(dx: Tensor, dy: Tensor, window?: Window): void
  /** out [rows, in] = W[firstRow …] */
  dequantizeRows(out: Tensor, firstRow: number): void
  /** out [n, in] = W[ids] */
  gatherRows(out: Tensor, ids: Tensor): void
  /** out [out] = ‖W‖² of each row */
  rowNormsSquared(out: Tensor): void
}

export class PanelWeight implements Weight {
  readonly codec: string
  readonly outFeatures: number
  readonly inFeatures: number
  readonly storage: ReadonlyArray<Tensor>
  readonly #queue: Queue
  readonly #kernels: WeightKernels
  constructor(
    queue: Queue,
    codec: string,
    kernels: WeightKernels,
    outFeatures: number,
    inFeatures: number,
    storage: ReadonlyArray<Tensor>
  ) {
    this.#queue = queue
    this.codec = codec
    this.#kernels = kernels
    this.outFeatures = outFeatures
    this.inFeatures = inFeatures
    this.storage = storage
  }
  get bytes(): number {
    return this.storage.reduce((sum, t) => sum + t.bytes, 0)
  }
  get #shape() {
    return { out: this.outFeatures, in: this.inFeatures }
  }
  apply(y: Tensor, x: Tensor, window: Window = {}): void {
    enqueueProduct(this.#queue, this.#kernels, this, false, [y, x], window)
  }
  applyTransposed(dx: Tensor, dy: Tensor, window: Window = {}): void {
    enqueueProduct(this.#queue, this.#kernels, this, true, [dx, dy], window)
  }
  dequantizeRows(out: Tensor, firstRow: number): void {
    this.#queue.enqueue(this.#kernels.dequantizeRows, [out, ...this.storage], { ...this.#shape, firstRow })
  }
  gatherRows(out: Tensor, ids: Tensor): void {
    this.#queue.enqueue(this.#kernels.gatherRows, [out, ids, ...this.storage], this.#shape)
  }
  rowNormsSquared(out: Tensor): void {
    this.#queue.enqueue(this.#kernels.rowNormsSquared, [out, ...this.storage], this.#shape)
  }
}

/** How frozen weights are stored. It is given sources, never modules; it knows nothing of models or adapters. */
export interface Codec {
  readonly name: string
  /** From a dense source [out, in] to a weight whose storage `scope` owns. One source is unquantised at a time. */
  readonly encode: (source: SourceTensor, scope: Scope, path: string) => Weight
  /** A weight that lies in the file in this codec's own format (a bitsandbytes checkpoint, say), else undefined. */
  readonly adopt?: (file: TensorFile, path: string, scope: Scope) => Weight | undefined
}
