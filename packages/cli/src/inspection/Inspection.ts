/** What is found in a file or folder: facts as lines of name and value, and tensors. */
export interface TensorLine {
  readonly name: string
  readonly format: string
  readonly shape: ReadonlyArray<number>
  readonly bytes: number
}
export interface Inspection {
  readonly kind: "model" | "adapter" | "gguf" | "safetensors" | "checkpoint"
  readonly path: string
  readonly facts: ReadonlyArray<readonly [name: string, value: string | number | boolean | null]>
  readonly notes: ReadonlyArray<string>
  readonly tensors: ReadonlyArray<TensorLine>
}

/** Tensors counted by format: `F32 38 (3.5 MB)`, the largest first. */
export const byFormat = (
  tensors: ReadonlyArray<TensorLine>
): ReadonlyArray<{ readonly format: string; readonly count: number; readonly bytes: number }> => {
  const sums = new Map<string, { count: number; bytes: number }>()
  for (const { format, bytes } of tensors) {
    const sum = sums.get(format) ?? { count: 0, bytes: 0 }
    sums.set(format, { count: sum.count + 1, bytes: sum.bytes + bytes })
  }
  return [...sums].map(([format, sum]) => ({ format, ...sum })).sort((a, b) => b.bytes - a.bytes)
}
