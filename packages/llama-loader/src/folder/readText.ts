/** Small files of a model folder: what is absent is `undefined`, what is no JSON or far too large a typed error. */
import { existsSync } from "node:fs"
import { type FileError, fromThrowing, openFile } from "@graft/safetensors"
import { Effect } from "effect"
import { ConfigError } from "../config/ConfigError.ts"

/** tokenizer.json of the largest vocabularies has some 35 MB. */
const LARGEST = 256 << 20

export const readBytes = (path: string): Effect.Effect<Uint8Array | undefined, FileError | ConfigError> =>
  existsSync(path)
    ? Effect.scoped(
        Effect.flatMap(openFile(path), (source) =>
          source.size > LARGEST
            ? Effect.fail(
                new ConfigError({ message: `${path} has ${source.size} bytes, far more than such a file holds.`, path })
              )
            : Effect.sync(() => source.read(0, source.size).slice())
        )
      )
    : Effect.succeed(undefined)

export const readText = (path: string): Effect.Effect<string | undefined, FileError | ConfigError> =>
  Effect.map(readBytes(path), (bytes) => (bytes === undefined ? undefined : new TextDecoder().decode(bytes)))

export const readJson = (path: string): Effect.Effect<unknown, FileError | ConfigError> =>
  Effect.flatMap(readText(path), (text) =>
    text === undefined
      ? Effect.succeed(undefined)
      : fromThrowing([ConfigError], (): unknown => {
          try {
            return JSON.parse(text)
          } catch (cause) {
            const why = cause instanceof Error ? cause.message : String(cause)
            throw new ConfigError({ message: `${path} is not JSON: ${why}. Fetch it again.`, path })
          }
        })
  )
