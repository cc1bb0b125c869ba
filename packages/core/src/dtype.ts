/**
 * Number formats of device memory. Arithmetic is f32 everywhere; bf16 and f16 are storage, widened when read and rounded
 * to nearest even when written.
 */
export type DType = "f32" | "bf16" | "f16" | "i32" | "i8" | "u8"

export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, f16: 2, i32: 4, i8: 1, u8: 1 }

/** The dtypes that an activation may have: what a recipe's `compute` chooses. */
export type ActivationDType = "f32" | "bf16"

/** What a kernel takes in one place: a dtype, or any of a kind. */
export type Admitted = DType | "act" | "float" | "plain"
const kinds: Readonly<Record<string, ReadonlyArray<DType>>> = {
  act: ["f32", "bf16"],
  float: ["f32", "bf16", "f16"],
  plain: ["f32", "bf16", "i32"]
}
export const admits = (kind: Admitted, dtype: DType): boolean => kinds[kind]?.includes(dtype) ?? kind === dtype
