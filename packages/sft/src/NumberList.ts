/**
 * A growing list of numbers, 4 or 8 bytes an entry and nothing for the collector to walk. It grows by whole parts, so that
 * nothing is copied and nothing is left behind.
 */
const PART = 16 // binary digits of a part's length

export class NumberList<A extends Int32Array | Float64Array> {
  readonly #make: (length: number) => A
  readonly #parts: Array<A> = []
  #length = 0

  constructor(make: (length: number) => A) {
    this.#make = make
  }
  get length(): number {
    return this.#length
  }
  push(value: number): void {
    const part = this.#length >>> PART
    if (part === this.#parts.length) this.#parts.push(this.#make(1 << PART))
    this.#parts[part]![this.#length++ & ((1 << PART) - 1)] = value
  }
  at(index: number): number {
    if (!(index >= 0 && index < this.#length)) throw new RangeError(`index ${index} of a list of ${this.#length}`)
    return this.#parts[index >>> PART]![index & ((1 << PART) - 1)]!
  }
  /** A copy in one piece. */
  whole(): A {
    const whole = this.#make(this.#length)
    for (const [i, part] of this.#parts.entries())
      whole.set(part.subarray(0, Math.min(part.length, this.#length - (i << PART))), i << PART)
    return whole
  }
}

export const int32List = (): NumberList<Int32Array> => new NumberList((length) => new Int32Array(length))
export const float64List = (): NumberList<Float64Array> => new NumberList((length) => new Float64Array(length))
