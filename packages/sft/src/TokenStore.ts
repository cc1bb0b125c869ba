/**
 * The tokenised rows, in 4 bytes a token and some 24 bytes a row, whatever their number: data larger than the memory budget
 * goes to a temporary file and is read back row by row.
 *
 * A word is a token id, or its bitwise complement (which is negative) where the token is to be learnt. A label of Hugging Face
 * is either the token or -100, so one bit says it all.
 */
import { randomUUID } from "node:crypto"
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SpillFailed } from "./DataError.ts"
import type { Document } from "./Document.ts"
import { float64List, int32List } from "./NumberList.ts"
import type { Place } from "./Place.ts"

export interface TokenStoreOptions {
  /** Tokens beyond these bytes lie in a temporary file. */
  readonly memoryBytes: number
  readonly folder?: string | undefined
}

export class TokenStore {
  readonly #options: TokenStoreOptions
  readonly #offsets = float64List() // in words, from the start of the store
  readonly #lengths = int32List()
  readonly #supervised = int32List()
  readonly #files = int32List()
  readonly #numbers = int32List()
  readonly #places: Array<{ readonly file: string; readonly unit: Place["unit"] }> = []
  readonly #chunks: Array<Int32Array | undefined> = [] // undefined: in the file
  #words = 0
  /** Of a chunk that has been written: the next one's memory. */
  #spare: Int32Array | undefined
  #spill: { readonly fd: number; readonly path: string; readonly unlinked: boolean } | undefined

  constructor(options: TokenStoreOptions = { memoryBytes: 64 * 1024 * 1024 }) {
    this.#options = options
  }
  get rows(): number {
    return this.#lengths.length
  }
  /** Tokens in all rows. */
  get tokens(): number {
    return this.#words
  }
  /** Bytes in the temporary file. */
  get spilledBytes(): number {
    return this.#spill === undefined ? 0 : this.#chunks.filter((chunk) => chunk === undefined).length * chunkBytes
  }

  /** Adds a row and returns its index. The first token is never learnt, since nothing stands before it. */
  append(words: Int32Array, place: Place): number {
    this.#offsets.push(this.#words)
    this.#lengths.push(words.length)
    let supervised = 0
    for (let t = 0; t < words.length; t++) if (words[t]! < 0) supervised++
    this.#supervised.push(supervised)
    this.#files.push(this.#fileIndex(place))
    this.#numbers.push(place.number)
    for (let done = 0; done < words.length; ) {
      const chunk = Math.floor(this.#words / chunkWords)
      const at = this.#words % chunkWords
      if (at === 0) this.#chunks.push(this.#spare ?? new Int32Array(chunkWords))
      if (at === 0) this.#spare = undefined
      const part = words.subarray(done, done + chunkWords - at)
      this.#chunks[chunk]!.set(part, at)
      done += part.length
      this.#words += part.length
      if (at + part.length === chunkWords && (chunk + 1) * chunkBytes > this.#options.memoryBytes) this.#write(chunk)
    }
    return this.rows - 1
  }
  tokensOf(row: number): number {
    return this.#lengths.at(row)
  }
  supervisedOf(row: number): number {
    return this.#supervised.at(row)
  }
  placeOf(row: number): Place {
    return { ...this.#places[this.#files.at(row)]!, number: this.#numbers.at(row) }
  }
  wordsOf(row: number): Int32Array {
    const words = new Int32Array(this.tokensOf(row))
    this.copyWords(words, 0, row)
    return words
  }
  /** Puts the words of a row into a list from a place on. */
  copyWords(into: Int32Array, at: number, row: number): void {
    const start = this.#offsets.at(row)
    const length = this.tokensOf(row)
    for (let done = 0; done < length; ) {
      const index = Math.floor((start + done) / chunkWords)
      const from = (start + done) % chunkWords
      const count = Math.min(length - done, chunkWords - from)
      const chunk = this.#chunks[index]
      if (chunk === undefined) this.#read(into.subarray(at + done, at + done + count), index * chunkBytes + from * 4)
      // Rows are short: a loop costs less than the two views that a copy would need.
      else for (let i = 0; i < count; i++) into[at + done + i] = chunk[from + i]!
      done += count
    }
  }
  document(row: number): Document {
    const ids = this.wordsOf(row)
    const targets = new Int32Array(ids.length).fill(-1)
    for (let t = 0; t < ids.length; t++) {
      const word = ids[t]!
      if (word >= 0) continue
      ids[t] = ~word
      targets[t - 1] = ~word // the first word is never negative
    }
    return { sample: row, ids, targets }
  }
  [Symbol.dispose](): void {
    if (this.#spill === undefined) return
    closeSync(this.#spill.fd)
    if (!this.#spill.unlinked) unlinkSync(this.#spill.path)
    this.#spill = undefined
  }

  #fileIndex(place: Place): number {
    const last = this.#places.length - 1 // rows come file by file
    if (last >= 0 && this.#places[last]!.file === place.file && this.#places[last]!.unit === place.unit) return last
    this.#places.push({ file: place.file, unit: place.unit })
    return last + 1
  }
  #write(chunk: number): void {
    const folder = this.#options.folder ?? tmpdir()
    try {
      this.#spill ??= openSpill(folder)
      const bytes = bytesOf(this.#chunks[chunk]!)
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.#spill.fd, bytes, done, bytes.length - done, chunk * chunkBytes + done)
      }
      this.#spare = this.#chunks[chunk]
      this.#chunks[chunk] = undefined
    } catch (error) {
      throw new SpillFailed({
        folder,
        bytes: (chunk + 1) * chunkBytes,
        problem: error instanceof Error ? error.message : String(error)
      })
    }
  }
  #read(into: Int32Array, position: number): void {
    if (this.#spill === undefined) throw new TypeError("TokenStore: it has been closed")
    const bytes = bytesOf(into)
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.#spill.fd, bytes, done, bytes.length - done, position + done)
      if (got === 0)
        throw new RangeError("internal: the temporary file of tokens is shorter than what was written to it")
      done += got
    }
  }
}

const chunkWords = 256 * 1024
const chunkBytes = 4 * chunkWords
const bytesOf = (words: Int32Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength)

/** The file loses its name at once where the system allows it: then it goes with the process, however that ends. */
const openSpill = (folder: string): { readonly fd: number; readonly path: string; readonly unlinked: boolean } => {
  const path = join(folder, `graft-tokens-${randomUUID()}`)
  const fd = openSync(path, "wx+", 0o600)
  try {
    unlinkSync(path)
    return { fd, path, unlinked: true }
  } catch {
    return { fd, path, unlinked: false }
  }
}
