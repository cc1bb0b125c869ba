/** Tensors of a model's names and shapes with random values that exist only while they are read. */
import { bytesOf, narrow, type SourceTensor, sizeOf, type TensorFile } from "@graft/core"
import { expectedTensors, type LlamaConfig } from "@graft/llama-loader"
import { gaussianFill } from "./gaussianBits.ts"

export interface SyntheticTensor extends SourceTensor {
  /** The same bytes as `read` gives, some megabytes at a time. */
  readonly pieces: () => AsyncIterable<Uint8Array>
}
const PIECE = 4 << 20 // elements

/** Matrices are normal with deviation 0.02, as a Llama begins; gains are 1, biases 0. */
export const syntheticTensors = (
  config: LlamaConfig,
  dtype: "f32" | "bf16" | "f16",
  seed: number
): TensorFile & { readonly all: ReadonlyArray<SyntheticTensor> } => {
  const all = [...expectedTensors(config)].map(({ name, shape, begins }): SyntheticTensor => {
    const size = sizeOf(shape)
    const fill =
      begins === "random"
        ? gaussianFill(name, dtype, seed)
        : (_: number, count: number) => narrow(new Float32Array(count).fill(begins), dtype)
    return {
      name,
      shape,
      dtype,
      read: () => fill(0, size),
      pieces: async function* () {
        for (let at = 0; at < size; at += PIECE) yield fill(at, Math.min(PIECE, size - at))
      }
    }
  })
  const byName = new Map(all.map((tensor) => [tensor.name, tensor]))
  return { all, names: [...byName.keys()], get: (name) => byName.get(name) }
}

export const byteLength = ({ shape, dtype }: SourceTensor): number => sizeOf(shape) * bytesOf[dtype]

/** Files of at most `limit` bytes, filled in order, as transformers' `save_pretrained` cuts them. */
export const shards = (
  tensors: ReadonlyArray<SyntheticTensor>,
  limit: number
): ReadonlyArray<ReadonlyArray<SyntheticTensor>> => {
  const files: Array<Array<SyntheticTensor>> = [[]]
  let used = 0
  for (const tensor of tensors) {
    const bytes = byteLength(tensor)
    if (used > 0 && used + bytes > limit) {
      files.push([])
      used = 0
    }
    files.at(-1)?.push(tensor)
    used += bytes
  }
  return files
}
