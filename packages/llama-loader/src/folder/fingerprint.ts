/**
 * Names a model's content without reading all of it: the head, where shapes and offsets stand, and samples of the tensors,
 * with the sizes. A resumed run compares it, so that it does not go on over other weights.
 */
import { createHash } from "node:crypto"
import type { SourceTensor } from "@graft/core"
import type { LlamaConfig } from "../config/LlamaConfig.ts"

/** Weights of this many tensors, spread over the model, are read. */
const SAMPLES = 8

export interface Fingerprinted {
  readonly config: LlamaConfig
  readonly tensors: ReadonlyArray<Pick<SourceTensor, "name" | "shape">>
  /** Up to `count` bytes from the start of a tensor as it lies in the file. */
  readonly sample: (name: string, count: number) => Uint8Array
}

export const fingerprint = ({ config, tensors, sample }: Fingerprinted): string => {
  const hash = createHash("sha256")
  hash.update(JSON.stringify(config))
  for (const { name, shape } of tensors) hash.update(`${name}:${shape.join(",")};`)
  const step = Math.max(1, Math.ceil(tensors.length / SAMPLES))
  for (let i = 0; i < tensors.length; i += step) hash.update(sample(tensors[i]!.name, 1 << 16))
  return hash.digest("hex").slice(0, 32)
}
