/**
 * Reads a GGUF's head from front to back through a window over the source, so that a head of megabytes (the tokenizer is
 * in it) costs a handful of reads. Every length is compared with what is left of the file before anything is allocated.
 */
import type { ByteSource } from "@graft/safetensors"

const WINDOW = 1 << 18

export class GgufCursor {
  position = 0
  readonly #source: ByteSource
  readonly #fail: (what: string) => never
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true }) // a token may be the byte order mark itself
  #start = 0
  #bytes: Uint8Array = new Uint8Array(0)
  #view = new DataView(this.#bytes.buffer)

  constructor(source: ByteSource, fail: (what: string) => never) {
    this.#source = source
    this.#fail = fail
  }

  get remaining(): number {
    return this.#source.size - this.position
  }

  /** Fails unless `count` things of at least `each` bytes can follow. */
  require(count: number, each: number, what: string): void {
    if (count * each > this.remaining)
      this.#fail(
        `${what} would take ${count * each} bytes or more at byte ${this.position}, and ${this.remaining} are left`
      )
  }

  /** Moves past `length` bytes and returns where they lie in the window. */
  #take(length: number, what: string): number {
    this.require(length, 1, what)
    if (this.position < this.#start || this.position + length > this.#start + this.#bytes.length) {
      this.#start = this.position
      this.#bytes = this.#source.read(this.position, Math.min(this.remaining, Math.max(length, WINDOW)))
      this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength)
    }
    const at = this.position - this.#start
    this.position += length
    return at
  }

  u8(what: string): number {
    const at = this.#take(1, what)
    return this.#view.getUint8(at)
  }
  i8(what: string): number {
    const at = this.#take(1, what)
    return this.#view.getInt8(at)
  }
  u16(what: string): number {
    const at = this.#take(2, what)
    return this.#view.getUint16(at, true)
  }
  i16(what: string): number {
    const at = this.#take(2, what)
    return this.#view.getInt16(at, true)
  }
  u32(what: string): number {
    const at = this.#take(4, what)
    return this.#view.getUint32(at, true)
  }
  i32(what: string): number {
    const at = this.#take(4, what)
    return this.#view.getInt32(at, true)
  }
  f32(what: string): number {
    const at = this.#take(4, what)
    return this.#view.getFloat32(at, true)
  }
  f64(what: string): number {
    const at = this.#take(8, what)
    return this.#view.getFloat64(at, true)
  }
  u64(what: string): bigint {
    const at = this.#take(8, what)
    return this.#view.getBigUint64(at, true)
  }
  i64(what: string): bigint {
    const at = this.#take(8, what)
    return this.#view.getBigInt64(at, true)
  }

  /** An unsigned 64-bit number that counts something, so that it must be exact in a double. */
  count(what: string): number {
    const value = this.u64(what)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.#fail(`${what} is ${value}`)
    return Number(value)
  }

  /** A copy of the next bytes. */
  bytes(length: number, what: string): Uint8Array {
    const at = this.#take(length, what)
    return new Uint8Array(this.#bytes.subarray(at, at + length)) // not `slice`: a Buffer's would not copy
  }

  text(what: string): string {
    const length = this.count(`the length of ${what}`)
    const at = this.#take(length, what)
    return this.#decoder.decode(this.#bytes.subarray(at, at + length))
  }
}
