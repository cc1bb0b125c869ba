/** What an adapter is to a session. Two phases, since the parameter arena is laid out between them. */
import type { LinearTable, ModelDescription } from "./Model.ts"
import type { ParameterSpec } from "./ParameterArena.ts"
import type { Source } from "./Queue.ts"
import type { Scope, Tensor } from "./Tensor.ts"

/** A file of a saved adapter or model; a large one in parts, made as they are written: each may take the memory of the last. */
export interface SavedFile {
  readonly name: string
  readonly bytes: Uint8Array | (() => AsyncIterable<Uint8Array>)
}
/** A trained tensor, read when it is asked for: whole, or its bytes in parts, of which each is there until any next one is asked for. */
export interface SavedParameter {
  readonly path: string
  readonly shape: ReadonlyArray<number>
  readonly values: () => Promise<Float32Array>
  readonly parts: () => AsyncIterable<Uint8Array>
}
export interface AdapterPlan {
  /** What is wrong with this adapter on this model, found before any weight is read. */
  readonly check: (model: ModelDescription, codec: string) => string | undefined
  /** Base tensors that are trained whole beside (or instead of) what is added: full training, modules_to_save. */
  readonly trainsBase: (path: string) => boolean
  /** First values of such a tensor, where they are not the file's. */
  readonly baseValues?: (path: string) => Source | undefined
  readonly parameters: (model: ModelDescription) => ReadonlyArray<ParameterSpec>
  /** Replaces linears by path. What it needs besides its parameters (a norm cache, say) lives in `scope`. */
  readonly bind: (linears: LinearTable, parameter: (path: string) => Tensor, scope: Scope) => void
  /** The files that hold it, in a format that others read. Nothing is read before their bytes are asked for. */
  readonly files: (parameters: ReadonlyArray<SavedParameter>, model: ModelDescription) => ReadonlyArray<SavedFile>
}
/** No adapter: the model as it is, for evaluation and generation. */
export const noAdapter: AdapterPlan = {
  check: () => undefined,
  trainsBase: () => false,
  parameters: () => [],
  bind: () => {},
  files: () => []
}
