/**
 * TensorBoard's event files: records of the protobuf message Event (tensorflow/core/util/event.proto), each framed with its
 * length and two masked CRC-32C checksums (tensorflow/core/lib/io/record_writer.cc). Scalars are all that is written.
 */
import { appendFileSync, mkdirSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"

/** `now` in seconds since 1970. */
export const eventFile = (folder: string, now: () => number = () => Date.now() / 1000) => {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `events.out.tfevents.${Math.floor(now())}.${hostname()}.${process.pid}.graft`)
  const write = (event: Uint8Array): void => appendFileSync(path, framed(event))
  write(concat(double(1, now()), text(3, "brain.Event:2")))
  return {
    path,
    scalars: (step: number, values: Readonly<Record<string, number>>): void => {
      const summary = Object.entries(values).map(([tag, value]) => bytes(1, concat(text(1, tag), float(2, value))))
      write(concat(double(1, now()), integer(2, step), bytes(5, concat(...summary))))
    }
  }
}

const framed = (data: Uint8Array): Uint8Array => {
  const head = new Uint8Array(8)
  new DataView(head.buffer).setBigUint64(0, BigInt(data.byteLength), true)
  return concat(head, checksum(head), data, checksum(data))
}
const checksum = (data: Uint8Array): Uint8Array => {
  const crc = crc32c(data)
  return fixed(4, (view) => view.setUint32(0, (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0, true))
}

/** Castagnoli's polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  return crc >>> 0
})
const crc32c = (data: Uint8Array): number => {
  let crc = 0xffffffff
  for (const byte of data) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 255] ?? 0)
  return (crc ^ 0xffffffff) >>> 0
}

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))
const fixed = (size: number, set: (view: DataView) => void): Uint8Array => {
  const out = new Uint8Array(size)
  set(new DataView(out.buffer))
  return out
}
const varint = (value: number): Uint8Array => {
  const out: Array<number> = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128)
  return Uint8Array.from([...out, rest])
}
/** A field of a message: its number and wire type, then its value. */
const field = (number: number, wire: number, value: Uint8Array): Uint8Array => concat(varint(number * 8 + wire), value)
const integer = (number: number, value: number): Uint8Array => field(number, 0, varint(value))
const double = (number: number, value: number): Uint8Array =>
  field(
    number,
    1,
    fixed(8, (view) => view.setFloat64(0, value, true))
  )
const float = (number: number, value: number): Uint8Array =>
  field(
    number,
    5,
    fixed(4, (view) => view.setFloat32(0, value, true))
  )
const bytes = (number: number, value: Uint8Array): Uint8Array =>
  field(number, 2, concat(varint(value.byteLength), value))
const text = (number: number, value: string): Uint8Array => bytes(number, new TextEncoder().encode(value))
