import { type DType, type Scope, sizeOf, type Tensor, uniforms } from "@graft/core"

/** `count` reproducible numbers, uniform in [-size, size). */
export const randomValues = (count: number, seed: number, size = 1): Float32Array =>
  uniforms(count, seed, 0x7e57).map((u) => size * (2 * u - 1))
/** Likewise on a grid of 1/128: exact in bf16 and f16, so that an instruction that multiplies these rounds no input. */
export const gridValues = (count: number, seed: number): Float32Array =>
  randomValues(count, seed).map((v) => Math.round(v * 128) / 128)

/** A tensor with these values, uploaded. */
export const tensorOf = (
  scope: Scope,
  name: string,
  shape: ReadonlyArray<number>,
  values: ArrayLike<number>,
  dtype: DType = "f32"
): Tensor => {
  const t = scope.tensor(shape, name, dtype)
  scope.queue.upload(t, () => values)
  return t
}
export const randomTensor = (
  scope: Scope,
  name: string,
  shape: ReadonlyArray<number>,
  seed: number,
  dtype: DType = "f32"
): Tensor => tensorOf(scope, name, shape, randomValues(sizeOf(shape), seed), dtype)
