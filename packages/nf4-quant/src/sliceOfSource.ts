/**
 * Parts of a source tensor, so that a tensor of any size is quantised in bounded memory: a range of its file, or of its bytes
 * where they are no file's (a GGUF's blocks, dequantised), which are then read once.
 */
import { closeSync, openSync, readSync } from "node:fs"
import { bytesOf, type DType, narrow, type SourceTensor, sizeOf, widen } from "@graft/core"
import { FileError, fileError } from "@graft/safetensors"

/** Elements of a part: whole blocks of every size, and some 16 MB of f32. */
export const SLICE = 1 << 22

/** @throws FileError */
const readRange = (path: string, offset: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  try {
    const file = openSync(path, "r")
    try {
      for (let done = 0; done < length; ) {
        const got = readSync(file, bytes, done, length - done, offset + done)
        if (got === 0) {
          const message = `${path} ends at byte ${offset + done}: it was cut short after it was opened. Write it again and start over.`
          throw new FileError({ message, path, operation: "read", code: "EOF" })
        }
        done += got
      }
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    throw fileError(path, "read", cause)
  }
  return bytes
}

/** Elements [first, first + count) of the tensor as a flat one, in `dtype`; to be asked for in order. */
export const slicesOf = (
  source: SourceTensor,
  dtype: DType = source.dtype
): ((first: number, count: number) => SourceTensor) => {
  const width = bytesOf[source.dtype]
  let whole: Uint8Array | undefined
  return (first, count) => {
    const bytes = count * width
    const { file } = source
    const read = (): Uint8Array => {
      if (file !== undefined) return readRange(file.path, file.offset + first * width, bytes)
      whole ??= source.read()
      return whole.subarray(first * width, first * width + bytes)
    }
    const part = { name: source.name, shape: [count], dtype }
    if (dtype !== source.dtype) return { ...part, read: () => narrow(widen(read(), source.dtype), dtype) }
    return file === undefined
      ? { ...part, read }
      : { ...part, read, file: { path: file.path, offset: file.offset + first * width, bytes } }
  }
}

/** The bytes of a tensor in `dtype`, part by part. */
export async function* bytesInParts(source: SourceTensor, dtype: DType = source.dtype): AsyncGenerator<Uint8Array> {
  const size = sizeOf(source.shape)
  const slice = slicesOf(source, dtype)
  for (let first = 0; first < size; first += SLICE) yield slice(first, Math.min(SLICE, size - first)).read()
}
