/**
 * A weight whose storage is there while its layer runs. What wants it at another time, as an adapter that begins with the norms
 * of its rows, brings its layer in for that.
 */
import type { Tensor, Weight, Window } from "@graft/core"

export class StreamedWeight implements Weight {
  readonly #below: Weight
  readonly #hold: (body: () => void) => void
  constructor(below: Weight, hold: (body: () => void) => void) {
    this.#below = below
    this.#hold = hold
  }
  get codec(): string {
    return this.#below.codec
  }
  get outFeatures(): number {
    return this.#below.outFeatures
  }
  get inFeatures(): number {
    return this.#below.inFeatures
  }
  get bytes(): number {
    return this.#below.bytes
  }
  get storage(): ReadonlyArray<Tensor> {
    return this.#below.storage
  }
  #resident(body: () => void): void {
    if (this.storage.some(({ state }) => state === "evicted")) this.#hold(body)
    else body()
  }
  apply(y: Tensor, x: Tensor, window?: Window): void {
    this.#resident(() => this.#below.apply(y, x, window))
  }
  applyTransposed(dx: Tensor, dy: Tensor, window?: Window): void {
    this.#resident(() => this.#below.applyTransposed(dx, dy, window))
  }
  dequantizeRows(out: Tensor, firstRow: number): void {
    this.#resident(() => this.#below.dequantizeRows(out, firstRow))
  }
  gatherRows(out: Tensor, ids: Tensor): void {
    this.#resident(() => this.#below.gatherRows(out, ids))
  }
  rowNormsSquared(out: Tensor): void {
    this.#resident(() => this.#below.rowNormsSquared(out))
  }
}
