/** How a quantiser keeps its scales [n]: storage, and the element reader that its panel source calls. */
import type { View } from "./Queue.ts"
import type { Scope, Tensor } from "./Tensor.ts"
import type { TensorFile } from "./TensorSource.ts"

/** What a checkpoint says of scales besides its tensors. */
export interface ScaleState {
  readonly nested_blocksize?: number
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
  /** How many tensors `encode` makes. */
  readonly storageCount: number
  /** Scale `index`, from the storage as views. */
  readonly at: (storage: ReadonlyArray<View>, index: number) => number
}
