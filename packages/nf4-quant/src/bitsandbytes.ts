/** A 4-bit linear as a bitsandbytes checkpoint holds it (bitsandbytes/functional.py, QuantState.as_dict). */
import type { ScaleFormat, Scope, Tensor, TensorFile } from "@graft/core"
import { Schema } from "effect"
import { type BlockSize, blockSizes, type Codebook } from "./codebooks.ts"

/** A checkpoint whose 4-bit tensors contradict each other or these options. */
export class FourBitError extends Schema.TaggedError<FourBitError>()("FourBitError", {
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}
const QuantState = Schema.fromJsonString(
  Schema.Struct({
    quant_type: Schema.String,
    blocksize: Schema.Int,
    dtype: Schema.String,
    shape: Schema.Array(Schema.Int),
    nested_blocksize: Schema.optionalKey(Schema.Int),
    nested_dtype: Schema.optionalKey(Schema.String),
    nested_offset: Schema.optionalKey(Schema.Finite)
  })
)
export type QuantState = typeof QuantState.Type
const decode = Schema.decodeUnknownSync(QuantState, { errors: "all" })

/** The longest state that is read: bitsandbytes writes some 200 bytes. */
const LONGEST = 1 << 16
const PREFIX = "quant_state.bitsandbytes__"

/** What a checkpoint says of the weight `path`; undefined where it is not 4-bit. */
export const quantStateOf = (file: TensorFile, path: string): QuantState | undefined => {
  for (const kind of ["nf4", "fp4"]) {
    const tensor = file.get(`${path}.weight.${PREFIX}${kind}`)
    if (tensor === undefined) continue
    const fail = (problem: string) => new FourBitError({ path: tensor.name, problem })
    if (tensor.dtype !== "u8" || tensor.shape.length !== 1 || tensor.shape[0]! > LONGEST)
      throw fail(`is ${tensor.dtype} [${tensor.shape}], wanted the bytes of a JSON text`)
    try {
      return decode(new TextDecoder("utf-8", { fatal: true }).decode(tensor.read()))
    } catch (cause) {
      throw fail(`is no quant_state: ${cause instanceof Error ? cause.message : String(cause)}`)
    }
  }
  return undefined
}

export interface Adopted {
  readonly packed: Tensor
  readonly scaleStorage: ReadonlyArray<Tensor>
  readonly out: number
  readonly inner: number
  readonly blockSize: BlockSize
}
export const adoptFourBit = (
  file: TensorFile,
  path: string,
  codebook: Codebook,
  scales: ScaleFormat,
  scope: Scope
): Adopted | undefined => {
  const state = quantStateOf(file, path)
  if (state === undefined) return undefined
  const fail = (problem: string) => new FourBitError({ path: `${path}.weight`, problem })
  if (state.quant_type !== codebook.name)
    throw fail(`is ${state.quant_type} in the checkpoint, and the stack has ${codebook.name}`)
  const blockSize = blockSizes.find((size) => size === state.blocksize)
  if (blockSize === undefined) throw fail(`has blocks of ${state.blocksize}, legal are ${blockSizes.join(", ")}`)
  const [out, inner] = state.shape
  if (
    state.shape.length !== 2 ||
    out === undefined ||
    inner === undefined ||
    out < 1 ||
    inner < 1 ||
    !Number.isSafeInteger(out * inner)
  ) {
    throw fail(`has the shape [${state.shape}] in its quant_state, wanted [out, in]`)
  }
  const weight = file.get(`${path}.weight`)
  if (weight === undefined) throw fail("is missing beside its quant_state")
  const bytes = Math.ceil((out * inner) / 2)
  const stored = weight.file?.bytes ?? weight.read().byteLength
  if (stored !== bytes) throw fail(`has ${stored} bytes, and its quant_state's shape [${out}, ${inner}] takes ${bytes}`)
  const count = Math.ceil((out * inner) / blockSize)
  const scaleStorage = scales.adopt?.(file, `${path}.weight`, count, scope, state)
  if (scaleStorage === undefined) {
    const nested = file.get(`${path}.weight.nested_absmax`) !== undefined
    throw fail(
      `${nested ? "has doubly quantised scales" : "has plain scales"}, which ${scales.name} scales do not read; ${nested ? "provide double-quant" : "provide plain scales"}`
    )
  }
  const packed = scope.tensor([bytes], path, "u8", "weights")
  scope.queue.uploadSource(packed, { ...weight, dtype: "u8", shape: [bytes] })
  return { packed, scaleStorage, out, inner, blockSize }
}
