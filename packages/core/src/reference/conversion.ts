/** Conversions between f32 and storage dtypes on the host: what native kernels do as they read and write. */
import { bytesOf, type DType } from "../dtype.ts"

const scratch = new Float32Array(1)
const scratchBits = new Uint32Array(scratch.buffer)

/** The bits of `value` as bf16: the upper half of an f32, rounded to nearest even. */
export const toBf16 = (value: number): number => {
  scratch[0] = value
  const bits = scratchBits[0]!
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40 // a NaN stays one, although its payload is cut
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}
export const fromBf16 = (bits: number): number => {
  scratchBits[0] = bits << 16
  return scratch[0]!
}
/** IEEE binary16, subnormals included. */
export const fromF16 = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
export const toF16 = (value: number): number => {
  scratch[0] = value
  const bits = scratchBits[0]!
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // rounds to infinity from 65,520 on
  if (magnitude < 0x38800000) {
    // Subnormal: the spacing is 2^-24, and a division by a power of two is exact.
    const steps = Math.abs(scratch[0]) * 2 ** 24
    const down = Math.floor(steps)
    const rest = steps - down
    return sign | (rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down)
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
}

/** Widens raw little-endian bytes of a float dtype to f32. */
export const widen = (bytes: Uint8Array, dtype: DType): Float32Array => {
  const count = bytes.byteLength / bytesOf[dtype]
  const out = new Float32Array(count)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let i = 0; i < count; i++) {
    if (dtype === "f32") out[i] = view.getFloat32(4 * i, true)
    else if (dtype === "bf16") out[i] = fromBf16(view.getUint16(2 * i, true))
    else if (dtype === "f16") out[i] = fromF16(view.getUint16(2 * i, true))
    else if (dtype === "i32") out[i] = view.getInt32(4 * i, true)
    else out[i] = dtype === "i8" ? view.getInt8(i) : view.getUint8(i)
  }
  return out
}
/** Rounds values to `dtype`, as raw little-endian bytes. */
export const narrow = (values: ArrayLike<number>, dtype: DType): Uint8Array => {
  const bytes = new Uint8Array(values.length * bytesOf[dtype])
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (dtype === "f32") view.setFloat32(4 * i, v, true)
    else if (dtype === "bf16") view.setUint16(2 * i, toBf16(v), true)
    else if (dtype === "f16") view.setUint16(2 * i, toF16(v), true)
    else if (dtype === "i32") view.setInt32(4 * i, v, true)
    else if (dtype === "i8") view.setInt8(i, v)
    else view.setUint8(i, v)
  }
  return bytes
}
