/** How a quantiser keeps its scales [n]: storage, and the element reader that its panel source calls. */
import type { View } from "./Queue.ts"
import type { Scope, Tensor } from "./Tensor.ts"
import type { SourceTensor, TensorFile } from "./TensorSource.ts"

/** What a checkpoint says of scales besides its tensors. */
export interface ScaleState {
  readonly nested_blocksize?: number
  readonly nested_dtype?: string
  readonly nested_offset?: number
}
export interface ScaleFormat {
  readonly name: string
  /** From f32 scales [n] on the device to storage that `scope` owns. */
  readonly encode: (scales: Tensor, scope: Scope, path: string) => ReadonlyArray<Tensor>
  /** Storage of `count` scales as they lie in a file under `path`, if they do in this format. */
  readonly adopt?: (
    file: TensorFile,
    path: string,
    count: number,
    scope: Scope,
    state: ScaleState
  ) => ReadonlyArray<Tensor> | undefined
  /** The bytes of the storage as a checkpoint keeps them under `path`, and what it says besides. */
  readonly save?: (storage: ReadonlyArray<Uint8Array>, path: string) => [ReadonlyArray<SourceTensor>, ScaleState]
  /** How many tensors `encode` makes. */
  readonly storageCount: number
  /** Scale `index`, from the storage as views. Natively: the scale reader that is registered by the format's name. */
  readonly at: (storage: ReadonlyArray<View>, index: number) => number
}
