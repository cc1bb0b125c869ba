/**
 * Tensors that lie outside: in a file, or in host memory. A loader lists them, a codec turns one of them into a weight.
 * `read` is asked when the upload is enqueued, never on the meta backend, so that a plan opens no file's payload.
 */
import type { DType } from "./dtype.ts"
import { narrow } from "./reference/conversion.ts"

export interface SourceTensor {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  readonly dtype: DType
  /** The raw little-endian bytes, read now. */
  readonly read: () => Uint8Array
  /** Where the same bytes lie in a file, if they do: a backend may read them itself, off the event loop. */
  readonly file?: { readonly path: string; readonly offset: number; readonly bytes: number }
  /** The same numbers as a file's quantised blocks, u8 [rows, bytes of a row]: a codec that knows `format` keeps them so. */
  readonly blocks?: { readonly format: string; readonly source: SourceTensor }
}

export interface TensorFile {
  readonly names: ReadonlyArray<string>
  readonly get: (name: string) => SourceTensor | undefined
}

/** A source made of numbers. */
export const sourceOf = (
  name: string,
  shape: ReadonlyArray<number>,
  values: () => ArrayLike<number>,
  dtype: DType = "f32"
): SourceTensor => ({ name, shape, dtype, read: () => narrow(values(), dtype) })
