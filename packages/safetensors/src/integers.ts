/** Integer tensors as JavaScript numbers: token ids come as int64 from Python. */

import type { SafetensorsTensor } from "./parseSafetensors.ts"
import { SafetensorsError } from "./SafetensorsError.ts"

/**
 * The elements in row-major order.
 * @throws SafetensorsError for a tensor of another kind, or a value beyond 2^53
 */
export const integersOf = (tensor: SafetensorsTensor): ReadonlyArray<number> => {
  const bytes = tensor.read()
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const list = (width: number, at: (offset: number) => number): ReadonlyArray<number> =>
    Array.from({ length: bytes.byteLength / width }, (_, i) => at(i * width))
  const exact = (value: bigint): number => {
    const number = Number(value)
    if (!Number.isSafeInteger(number))
      throw new SafetensorsError({
        message: `tensor ${tensor.name} holds ${value}, which is beyond 2^53. Store smaller integers.`,
        path: tensor.name
      })
    return number
  }
  switch (tensor.dtype) {
    case "BOOL":
    case "U8":
      return list(1, (i) => view.getUint8(i))
    case "I8":
      return list(1, (i) => view.getInt8(i))
    case "I16":
      return list(2, (i) => view.getInt16(i, true))
    case "U16":
      return list(2, (i) => view.getUint16(i, true))
    case "I32":
      return list(4, (i) => view.getInt32(i, true))
    case "U32":
      return list(4, (i) => view.getUint32(i, true))
    case "I64":
      return list(8, (i) => exact(view.getBigInt64(i, true)))
    case "U64":
      return list(8, (i) => exact(view.getBigUint64(i, true)))
    default:
      throw new SafetensorsError({
        message: `tensor ${tensor.name} is ${tensor.dtype} where integers are wanted. Store it as I64 or I32.`,
        path: tensor.name
      })
  }
}

/** The little-endian bytes of int64 values, as Python's readers of token ids want them. */
export const int64Bytes = (values: ArrayLike<number>): Uint8Array => {
  const bytes = new Uint8Array(values.length * 8)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < values.length; i++) view.setBigInt64(i * 8, BigInt(values[i]!), true)
  return bytes
}
