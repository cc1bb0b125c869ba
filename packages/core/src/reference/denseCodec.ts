/** Frozen weights as they are: one tensor in the file's own float dtype, or rounded to another while loading. */
import type { DType } from "../dtype.ts"
import { Scope } from "../Tensor.ts"
import { type Codec, PanelWeight } from "../Weight.ts"
import { weightKernels } from "./weightKernels.ts"

const kernels = weightKernels("dense", (panel, [w], row, n) => {
  for (let i = 0; i < n; i++) panel[i] = w![row * n + i]!
})

/** The five kernels of a dense W; a trained embedding gathers its rows by the same one. */
export const denseKernels = kernels

/** `dtype`: "source" keeps the file's, byte for byte. */
export const denseCodec = (dtype: "source" | "f32" | "bf16" | "f16" = "source"): Codec => ({
  name: "dense",
  encode: (source, scope, path) => {
    const { queue } = scope
    const [out, inner] = matrixShape(source.shape, path)
    const target: DType = dtype === "source" ? source.dtype : dtype
    if (target !== "f32" && target !== "bf16" && target !== "f16") {
      throw new TypeError(`${path}: dense weights are f32, bf16 or f16, got ${source.dtype}`)
    }
    const w = scope.tensor([out, inner], path, target, "weights")
    const weight = new PanelWeight(queue, "dense", kernels, out, inner, [w])
    if (target === source.dtype) {
      queue.uploadSource(w, source)
      return weight
    }
    using temporary = new Scope(queue, "workspace")
    const raw = temporary.tensor([out, inner], `${path} (${source.dtype})`, source.dtype)
    queue.uploadSource(raw, source)
    new PanelWeight(queue, "dense", kernels, out, inner, [raw]).dequantizeRows(w, 0)
    return weight
  }
})

/** The shape of a weight matrix; an error names the tensor. */
export const matrixShape = (shape: ReadonlyArray<number>, path: string): readonly [number, number] => {
  const [out, inner] = shape
  if (shape.length !== 2 || out === undefined || inner === undefined) {
    throw new TypeError(`${path}: a linear's weight is [out, in], got [${shape}]`)
  }
  return [out, inner]
}
