/**
 * Protocol Buffers as bytes: the fields of one message, one after the other
 * (protobuf.dev/programming-guides/encoding). Each length is checked against what is there before it is used.
 */

export interface Field {
  readonly number: number
  /** A varint below 2⁵³, the bytes of a fixed-size number, or those of a string or message. */
  readonly value: number | Uint8Array
}

export class MalformedMessage extends RangeError {}

const VARINT = 0
const FIXED_64 = 1
const BYTES = 2
const FIXED_32 = 5

/** @throws MalformedMessage */
export function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let factor = 1, i = 0; i < 10; i++, factor *= 128) {
      const byte = bytes[at++]
      if (byte === undefined) throw new MalformedMessage(`it ends within a number, at byte ${at - 1}`)
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
    throw new MalformedMessage(`a number at byte ${at - 10} has more than ten bytes`)
  }
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at)
      throw new MalformedMessage(`a field at byte ${at} says ${length} bytes, ${bytes.length - at} are left`)
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const start = at
    const key = varint()
    const wire = key % 8
    const number = (key - wire) / 8
    if (wire === VARINT) yield { number, value: varint() }
    else if (wire === BYTES) yield { number, value: take(varint()) }
    else if (wire === FIXED_32) yield { number, value: take(4) }
    else if (wire === FIXED_64) yield { number, value: take(8) }
    else throw new MalformedMessage(`the field at byte ${start} is of the unknown wire type ${wire}`)
  }
}

/** A field of four bytes as an f32, and any other as 0, protobuf's default. */
export const floatOf = (value: Field["value"]): number =>
  typeof value !== "number" && value.length === 4
    ? new DataView(value.buffer, value.byteOffset, 4).getFloat32(0, true)
    : 0
