/** A 4-bit linear as a bitsandbytes checkpoint holds it: `X.weight` and what stands beside it, checked before it is taken. */
import {
  bytesOf,
  type ScaleFormat,
  type Scope,
  type SourceTensor,
  sizeOf,
  type Tensor,
  type TensorFile
} from "@graft/core"
import { type BlockSize, blockSizes, type Codebook } from "./codebooks.ts"
import { errorIn } from "./FourBitError.ts"
import { quantStateOf } from "./quantState.ts"

/** Codes and scales as the file has them, on the device. */
export interface Adopted {
  readonly packed: Tensor
  readonly scaleStorage: ReadonlyArray<Tensor>
  readonly out: number
  readonly inner: number
  readonly blockSize: BlockSize
}

/** The weight `path` as it lies in `file`, or undefined where it is not in 4 bits. @throws FourBitError */
export const adoptFourBit = (
  file: TensorFile,
  path: string,
  codebook: Codebook,
  scales: ScaleFormat,
  scope: Scope,
  /** Which scope owns the scales. */
  scopeOfScales: (inner: number, blockSize: BlockSize) => Scope
): Adopted | undefined => {
  const state = quantStateOf(file, path)
  if (state === undefined) return undefined
  const weight = file.get(`${path}.weight`)
  const fail = (problem: string) => errorIn({ ...weight, name: `${path}.weight` }, problem)
  if (state.quant_type !== codebook.name)
    throw fail(`is ${state.quant_type} in the checkpoint, and the stack has ${codebook.name}`)
  const blockSize = blockSizes.find((size) => size === state.blocksize)
  if (blockSize === undefined) throw fail(`has blocks of ${state.blocksize}, legal are ${blockSizes.join(", ")}`)
  const [out = 0, inner = 0] = state.shape
  if (state.shape.length !== 2 || out < 1 || inner < 1 || !Number.isSafeInteger(out * inner))
    throw fail(`has the shape [${state.shape}] in its quant_state, wanted [out, in]`)
  if (weight === undefined) throw fail("is missing beside its quant_state")
  const bytes = Math.ceil((out * inner) / 2)
  const stored = sizeOf(weight.shape) * bytesOf[weight.dtype]
  if (stored !== bytes) throw fail(`has ${stored} bytes, and its quant_state's shape [${out}, ${inner}] takes ${bytes}`)
  requireValues(file, path, codebook)
  const count = Math.ceil((out * inner) / blockSize)
  const scaleStorage = scales.adopt?.(file, `${path}.weight`, count, scopeOfScales(inner, blockSize), state)
  if (scaleStorage === undefined) {
    const [kind, cure] =
      file.get(`${path}.weight.nested_absmax`) === undefined
        ? ["plain", "plain scales"]
        : ["doubly quantised", "double quantization"]
    throw fail(`has ${kind} scales, and the stack keeps ${scales.name} scales; provide ${cure}`)
  }
  const packed = scope.tensor([bytes], path, "u8", "weights")
  // Whatever quant_storage was: the bytes are the same.
  scope.queue.uploadSource(packed, { ...weight, dtype: "u8", shape: [bytes] })
  return { packed, scaleStorage, out, inner, blockSize }
}

/** The checkpoint's own table of values, where it has one, must be this package's: codes of another mean something else. */
const requireValues = (file: TensorFile, path: string, { name, values }: Codebook): void => {
  const map = file.get(`${path}.weight.quant_map`)
  if (map !== undefined && !holds(map, values))
    throw errorIn(map, `is not the table of ${name}; quantise the original weights anew`)
}
const holds = (tensor: SourceTensor, values: Float32Array): boolean => {
  if (tensor.dtype !== "f32" || sizeOf(tensor.shape) !== values.length) return false
  const { buffer, byteOffset, byteLength } = tensor.read()
  const view = new DataView(buffer, byteOffset, byteLength)
  return values.every((value, i) => view.getFloat32(4 * i, true) === value)
}
