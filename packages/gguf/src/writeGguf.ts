/** Writes a GGUF atomically: temporary name, sync, rename. */
import { type FileError, replaceFile } from "@graft/safetensors"
import type { Effect } from "effect"
import { type EncodedTensor, type EncodedValue, ggufChunks } from "./encodeGguf.ts"

export const writeGguf = (
  path: string,
  metadata: Readonly<Record<string, EncodedValue>>,
  tensors: ReadonlyArray<EncodedTensor>
): Effect.Effect<void, FileError> => replaceFile(path, ggufChunks(metadata, tensors))
