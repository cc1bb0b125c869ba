/**
 * What bitsandbytes says of a 4-bit weight beside its tensors: a JSON text under `X.weight.quant_state.bitsandbytes__nf4`
 * (bitsandbytes/functional.py, QuantState.as_dict).
 */
import type { TensorFile } from "@graft/core"
import { Schema } from "effect"
import { errorIn } from "./FourBitError.ts"
import { pythonJson } from "./pythonJson.ts"

export const QuantState = Schema.Struct({
  quant_type: Schema.String,
  blocksize: Schema.Int,
  /** What the weight was; a bitsandbytes program rounds W to it, this package does not. */
  dtype: Schema.String,
  shape: Schema.Array(Schema.Int),
  nested_blocksize: Schema.optionalKey(Schema.Int),
  nested_dtype: Schema.optionalKey(Schema.String),
  nested_offset: Schema.optionalKey(Schema.Finite)
})
export type QuantState = typeof QuantState.Type

const decode = Schema.decodeUnknownSync(Schema.fromJsonString(QuantState), { errors: "all" })
const FLOATS = new Set(["nested_offset"])
/** The longest state that is read: bitsandbytes writes some 200 bytes. */
const LONGEST = 1 << 16

export const quantStateName = (path: string, kind: string): string => `${path}.weight.quant_state.bitsandbytes__${kind}`

/** The bytes of the tensor, keys in the order of QuantState.as_dict. */
export const quantStateBytes = (state: QuantState): Uint8Array => {
  const { quant_type, blocksize, dtype, shape, ...nested } = state
  return new TextEncoder().encode(pythonJson({ quant_type, blocksize, dtype, shape, ...nested }, FLOATS))
}

/** What a checkpoint says of the weight `path`; undefined where it is not 4-bit. */
export const quantStateOf = (file: TensorFile, path: string): QuantState | undefined => {
  const found = ["nf4", "fp4"].flatMap((kind) => {
    const tensor = file.get(quantStateName(path, kind))
    return tensor === undefined ? [] : [{ kind, tensor }]
  })
  const [first, second] = found
  if (first === undefined) return undefined
  const { kind, tensor } = first
  const fail = (problem: string) => errorIn(tensor, problem)
  if (second !== undefined) throw fail(`stands beside ${second.tensor.name}: a weight has one quant_state`)
  if (tensor.dtype !== "u8" || tensor.shape.length !== 1 || tensor.shape[0]! > LONGEST)
    throw fail(`is ${tensor.dtype} [${tensor.shape}], wanted the bytes of a JSON text`)
  let state: QuantState
  try {
    state = decode(new TextDecoder("utf-8", { fatal: true }).decode(tensor.read()))
  } catch (cause) {
    throw fail(
      `is no quant_state: ${cause instanceof Error ? cause.message : String(cause)}. Fetch or write the file again`
    )
  }
  if (state.quant_type !== kind) throw fail(`says that its quant_type is ${state.quant_type}; its name says ${kind}`)
  return state
}
