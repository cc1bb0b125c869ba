/**
 * Number formats of device memory. Arithmetic is f32 everywhere; bf16 and f16 are storage, widened when read and rounded
 * to nearest even when written.
 */
export type DType = "f32" | "bf16" | "f16" | "i32" | "i8" | "u8"

export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, f16: 2, i32: 4, i8: 1, u8: 1 }

/** The dtypes that an activation may have: what a recipe's `compute` chooses. */
export type ActivationDType = "f32" | "bf16"
