/**
 * A GGUF as bytes (docs/gguf.md of ggml, version 3): the head, then tensor after tensor at multiples of 32 bytes. What it is
 * given is written as it is, also where no reader would take it: tests need files that are wrong in one place.
 */
export type EncodedValue =
  | { readonly type: "u8" | "u16" | "u32" | "i32" | "f32" | "u64"; readonly value: number | bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "text"; readonly value: string }
  | { readonly type: "texts"; readonly value: ReadonlyArray<string> }
  | { readonly type: "i32s" | "f32s"; readonly value: ArrayLike<number> }

export interface EncodedTensor {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  /** ggml's number of the type. */
  readonly type: number
  readonly bytes: Uint8Array | LaterBytes
}
/** Bytes that are made when their turn comes, so that no two tensors are in memory. */
export interface LaterBytes {
  readonly length: number
  readonly read: () => Uint8Array
}

const utf8 = new TextEncoder()

class Bytes {
  #parts: Array<Uint8Array> = []
  length = 0
  add(part: Uint8Array): void {
    this.#parts.push(part)
    this.length += part.length
  }
  number(size: number, write: (view: DataView) => void): void {
    const bytes = new Uint8Array(size)
    write(new DataView(bytes.buffer))
    this.add(bytes)
  }
  u32(value: number): void {
    this.number(4, (view) => view.setUint32(0, value, true))
  }
  u64(value: number | bigint): void {
    this.number(8, (view) => view.setBigUint64(0, BigInt(value), true))
  }
  text(value: string): void {
    const bytes = utf8.encode(value)
    this.u64(bytes.length)
    this.add(bytes)
  }
  joined(): Uint8Array {
    const out = new Uint8Array(this.length)
    let at = 0
    for (const part of this.#parts) {
      out.set(part, at)
      at += part.length
    }
    return out
  }
}

const writeValue = (out: Bytes, entry: EncodedValue): void => {
  switch (entry.type) {
    case "u8":
      out.u32(0)
      return out.number(1, (view) => view.setUint8(0, Number(entry.value)))
    case "u16":
      out.u32(2)
      return out.number(2, (view) => view.setUint16(0, Number(entry.value), true))
    case "u32":
      out.u32(4)
      return out.u32(Number(entry.value))
    case "i32":
      out.u32(5)
      return out.number(4, (view) => view.setInt32(0, Number(entry.value), true))
    case "f32":
      out.u32(6)
      return out.number(4, (view) => view.setFloat32(0, Number(entry.value), true))
    case "bool":
      out.u32(7)
      return out.number(1, (view) => view.setUint8(0, entry.value ? 1 : 0))
    case "text":
      out.u32(8)
      return out.text(entry.value)
    case "u64":
      out.u32(10)
      return out.u64(entry.value)
    case "texts":
      out.u32(9)
      out.u32(8)
      out.u64(entry.value.length)
      for (const text of entry.value) out.text(text)
      return
    case "i32s":
    case "f32s": {
      out.u32(9)
      out.u32(entry.type === "i32s" ? 5 : 6)
      out.u64(entry.value.length)
      const numbers = entry.type === "i32s" ? Int32Array.from(entry.value) : Float32Array.from(entry.value)
      out.add(new Uint8Array(numbers.buffer))
    }
  }
}

const ALIGNMENT = 32
const padded = (length: number): number => Math.ceil(length / ALIGNMENT) * ALIGNMENT

/** The file in pieces, so that no second copy of the tensors exists. */
export function* ggufChunks(
  metadata: Readonly<Record<string, EncodedValue>>,
  tensors: ReadonlyArray<EncodedTensor> = []
): Generator<Uint8Array> {
  const head = new Bytes()
  head.add(utf8.encode("GGUF"))
  head.u32(3)
  head.u64(tensors.length)
  head.u64(Object.keys(metadata).length)
  for (const [key, value] of Object.entries(metadata)) {
    head.text(key)
    writeValue(head, value)
  }
  let offset = 0
  for (const { name, shape, type, bytes } of tensors) {
    head.text(name)
    head.u32(shape.length)
    for (const size of [...shape].reverse()) head.u64(size)
    head.u32(type)
    head.u64(offset)
    offset += padded(bytes.length)
  }
  let length = head.length
  yield head.joined()
  for (const { bytes } of tensors) {
    yield new Uint8Array(padded(length) - length)
    yield bytes instanceof Uint8Array ? bytes : bytes.read()
    length = padded(length) + bytes.length
  }
}

export const encodeGguf = (
  metadata: Readonly<Record<string, EncodedValue>>,
  tensors: ReadonlyArray<EncodedTensor> = []
): Uint8Array => {
  const out = new Bytes()
  for (const chunk of ggufChunks(metadata, tensors)) out.add(chunk)
  return out.joined()
}
