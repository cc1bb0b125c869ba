/**
 * How Graft's dtypes lie in TensorFlow.js, which has float32 and int32. Floats of 16 bits are f32 of the same value. Bytes
 * (the codes of 4-bit weights, 8-bit scales) lie three in one f32, the first the highest: b0·2^16 + b1·2^8 + b2 < 2^24, which an
 * f32 holds exactly. An int32 would hold four, but WebGL keeps int32 in a float, whose integers end at 2^24.
 */
import { bytesOf, type DType, narrow, widen } from "@graft/core"
import type { Numbers } from "./TensorFlow.ts"

/** Bytes of one f32. */
export const BYTES_PER_FLOAT = 3
const isBytes = (dtype: DType): boolean => dtype === "u8" || dtype === "i8"

/** Elements of the tensor that holds `size` numbers. */
export const heldSize = (size: number, dtype: DType): number =>
  isBytes(dtype) ? Math.ceil(size / BYTES_PER_FLOAT) : size
/** What `size` numbers take on the device: four bytes an element. */
export const heldBytes = (size: number, dtype: DType): number => 4 * heldSize(size, dtype)
export const heldAs = (dtype: DType): Numbers => (dtype === "i32" ? "int32" : "float32")

/** Raw bytes of a dtype as the numbers that are uploaded. */
export const hold = (bytes: Uint8Array, dtype: DType): Float32Array | Int32Array => {
  if (dtype === "i32") return new Int32Array(bytes.slice().buffer)
  if (!isBytes(dtype)) return widen(bytes, dtype)
  return Float32Array.from(
    { length: heldSize(bytes.length, dtype) },
    (_, i) => 65_536 * bytes[3 * i]! + 256 * (bytes[3 * i + 1] ?? 0) + (bytes[3 * i + 2] ?? 0)
  )
}
/** Back from the numbers read to `size` numbers of a dtype as raw bytes. */
export const release = (values: ArrayLike<number>, size: number, dtype: DType): Uint8Array => {
  if (!isBytes(dtype)) return narrow(values, dtype)
  const bytes = new Uint8Array(size * bytesOf[dtype])
  for (let i = 0; i < size; i++) {
    const packed = values[Math.floor(i / BYTES_PER_FLOAT)]!
    bytes[i] = Math.floor(packed / 256 ** (2 - (i % BYTES_PER_FLOAT))) % 256
  }
  return bytes
}
