/**
 * The head and tensors of a GGUF as bytes (docs/gguf.md, version 3): for tests, which need files that are wrong in one
 * place, and for oracles, which need a real vocabulary under another rule.
 */
export type EncodedValue =
  | { readonly type: "u8" | "u32" | "i32" | "f32" | "u64"; readonly value: number | bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "text"; readonly value: string }
  | { readonly type: "texts"; readonly value: ReadonlyArray<string> }
  | { readonly type: "i32s" | "f32s"; readonly value: ArrayLike<number> }

export interface EncodedTensor {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  /** ggml's number of the type. */
  readonly type: number
  readonly bytes: Uint8Array
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
  pad(multiple: number): void {
    this.add(new Uint8Array((multiple - (this.length % multiple)) % multiple))
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

export const encodeGguf = (
  metadata: Readonly<Record<string, EncodedValue>>,
  tensors: ReadonlyArray<EncodedTensor> = []
): Uint8Array => {
  const alignment = 32
  const out = new Bytes()
  out.add(utf8.encode("GGUF"))
  out.u32(3)
  out.u64(tensors.length)
  out.u64(Object.keys(metadata).length)
  for (const [key, value] of Object.entries(metadata)) {
    out.text(key)
    writeValue(out, value)
  }
  let offset = 0
  for (const { name, shape, type, bytes } of tensors) {
    out.text(name)
    out.u32(shape.length)
    for (const size of [...shape].reverse()) out.u64(size)
    out.u32(type)
    out.u64(offset)
    offset += Math.ceil(bytes.length / alignment) * alignment
  }
  for (const { bytes } of tensors) {
    out.pad(alignment)
    out.add(bytes)
  }
  return out.joined()
}
