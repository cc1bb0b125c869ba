/** One safetensors file, open until the scope closes. */
import { Effect, type Scope } from "effect"
import { openFile } from "./ByteSource.ts"
import { FileError } from "./FileError.ts"
import { fromThrowing } from "./fromThrowing.ts"
import { parseSafetensors, type SafetensorsFile } from "./parseSafetensors.ts"
import { SafetensorsError } from "./SafetensorsError.ts"

export const openSafetensors = (
  path: string
): Effect.Effect<SafetensorsFile, SafetensorsError | FileError, Scope.Scope> =>
  Effect.flatMap(openFile(path), (source) =>
    fromThrowing<SafetensorsFile, SafetensorsError | FileError>([SafetensorsError, FileError], () =>
      parseSafetensors(source)
    )
  )
