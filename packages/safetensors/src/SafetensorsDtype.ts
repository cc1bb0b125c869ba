/**
 * The number formats of safetensors, in the order of its Rust enumeration: the reference writer lays tensors out by
 * descending place in it, then by name (safetensors/src/tensor.rs, `prepare`).
 */

/** Bits of one element, by name, ascending. */
const bits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64
} as const

export type SafetensorsDtype = keyof typeof bits

export const safetensorsDtypes = Object.keys(bits) as ReadonlyArray<SafetensorsDtype> // the keys are what the type lists

export const isSafetensorsDtype = (name: unknown): name is SafetensorsDtype =>
  typeof name === "string" && Object.hasOwn(bits, name)

export const bitsOf = (dtype: SafetensorsDtype): number => bits[dtype]

/** Place in the writer's order: higher comes first in the file. */
export const rankOf = (dtype: SafetensorsDtype): number => safetensorsDtypes.indexOf(dtype)

/** What Graft computes with; the same words as core's `DType`. */
export type ComputeDtype = "f32" | "bf16" | "f16" | "i32" | "i8" | "u8"

const toCompute: Partial<Record<SafetensorsDtype, ComputeDtype>> = {
  F32: "f32",
  BF16: "bf16",
  F16: "f16",
  I32: "i32",
  I8: "i8",
  U8: "u8"
}
const fromCompute: Readonly<Record<ComputeDtype, SafetensorsDtype>> = {
  f32: "F32",
  bf16: "BF16",
  f16: "F16",
  i32: "I32",
  i8: "I8",
  u8: "U8"
}

/** `undefined` for a format that a file may hold and Graft does not compute with. */
export const computeDtypeOf = (dtype: SafetensorsDtype): ComputeDtype | undefined => toCompute[dtype]

export const safetensorsDtypeOf = (dtype: ComputeDtype | SafetensorsDtype): SafetensorsDtype =>
  isSafetensorsDtype(dtype) ? dtype : fromCompute[dtype]
