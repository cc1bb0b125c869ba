/** A growing list of numbers in one typed array: 4 or 8 bytes an entry, and nothing for the collector to walk. */
export class NumberList<A extends Int32Array | Float64Array> {
  readonly #make: (length: number) => A
  #values: A
  #length = 0

  constructor(make: (length: number) => A) {
    this.#make = make
    this.#values = make(1024)
  }
  get length(): number {
    return this.#length
  }
  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = this.#make(2 * this.#length)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.#length++] = value
  }
  at(index: number): number {
    if (!(index >= 0 && index < this.#length)) throw new RangeError(`index ${index} of a list of ${this.#length}`)
    return this.#values[index]!
  }
  /** A view of what is in it now; a later push may leave it behind. */
  view(): A {
    return this.#values.subarray(0, this.#length) as A // subarray keeps the class of its array
  }
}

export const int32List = (): NumberList<Int32Array> => new NumberList((length) => new Int32Array(length))
export const float64List = (): NumberList<Float64Array> => new NumberList((length) => new Float64Array(length))
