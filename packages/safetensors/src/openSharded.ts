/**
 * A checkpoint in several safetensors files, told apart by `model.safetensors.index.json`:
 * `{ "metadata": …, "weight_map": { tensor: file } }` (transformers, modeling_utils.py). All shards are opened and every
 * tensor is looked up before the first is read, so that a missing one costs a second and not an hour.
 */
import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { Effect, type Scope } from "effect"
import { openFile } from "./ByteSource.ts"
import { FileError } from "./FileError.ts"
import { fromThrowing } from "./fromThrowing.ts"
import { openSafetensors } from "./openSafetensors.ts"
import type { SafetensorsFile, SafetensorsTensor } from "./parseSafetensors.ts"
import { SafetensorsError } from "./SafetensorsError.ts"
import { isJsonObject, type JsonValue, strictJson } from "./strictJson.ts"

/** An index of a few hundred bytes a tensor; this is far above the largest known and keeps a wrong file out of memory. */
const LONGEST_INDEX = 100_000_000

/** Tensor name → shard's file name. @throws SafetensorsError */
export const parseShardIndex = (path: string, text: string): ReadonlyMap<string, string> => {
  const fail = (what: string): never => {
    throw new SafetensorsError({ message: `${path} is not a sound index of shards: ${what}. Fetch it again.`, path })
  }
  let index: JsonValue
  try {
    index = strictJson(text)
  } catch (cause) {
    return fail((cause as SyntaxError).message) // strictJson throws nothing else
  }
  const map = isJsonObject(index) ? index.get("weight_map") : undefined
  if (!isJsonObject(map)) return fail("it has no object weight_map")
  const shards = new Map<string, string>()
  for (const [tensor, shard] of map) {
    if (typeof shard !== "string" || !/^[\w.-]+$/.test(shard) || shard.startsWith("."))
      return fail(
        `weight_map puts ${JSON.stringify(tensor)} into ${JSON.stringify(shard)}, which is no plain name of a file beside the index`
      )
    shards.set(tensor, shard)
  }
  if (shards.size === 0) return fail("weight_map is empty")
  return shards
}

/** @throws SafetensorsError where index and shards disagree, naming every tensor that does */
export const joinShards = (
  path: string,
  index: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>
): SafetensorsFile => {
  const tensors = new Map<string, SafetensorsTensor>()
  const wrong: Array<string> = []
  const holders = new Map<string, string>()
  for (const [shard, file] of shards) {
    for (const name of file.names) {
      const other = holders.get(name)
      if (other !== undefined) wrong.push(`${name} is in ${other} and again in ${shard}`)
      holders.set(name, shard)
    }
  }
  for (const [name, shard] of index) {
    const tensor = shards.get(shard)?.tensors.get(name)
    if (tensor === undefined) wrong.push(`${name} is not in ${shard}`)
    else tensors.set(name, tensor)
  }
  if (wrong.length > 0)
    throw new SafetensorsError({
      message: `${path} and its shards disagree: ${wrong.slice(0, 20).join("; ")}${wrong.length > 20 ? `; and ${wrong.length - 20} more` : ""}. Fetch the checkpoint again.`,
      path
    })
  return {
    path,
    metadata: shards.values().next().value?.metadata ?? new Map(),
    tensors,
    names: [...tensors.keys()],
    get: (name) => shards.get(index.get(name) ?? "")?.get(name)
  }
}

export const openSharded = (
  indexPath: string
): Effect.Effect<SafetensorsFile, SafetensorsError | FileError, Scope.Scope> =>
  Effect.gen(function* () {
    const text = yield* Effect.scoped(
      Effect.flatMap(openFile(indexPath), (source) => readIndex(source.name, source.size, source.read))
    )
    const index = yield* fromThrowing([SafetensorsError], () => parseShardIndex(indexPath, text))
    const folder = dirname(indexPath)
    const names = [...new Set(index.values())].sort()
    const missing = names.filter((name) => !existsSync(join(folder, name)))
    if (missing.length > 0)
      return yield* new FileError({
        message: `${indexPath} names ${names.length} shards, and of these are missing in ${folder}: ${missing.join(", ")}. Fetch them.`,
        path: indexPath,
        operation: "open",
        code: "ENOENT"
      })
    const shards = new Map<string, SafetensorsFile>()
    for (const name of names) shards.set(name, yield* openSafetensors(join(folder, name)))
    return yield* fromThrowing([SafetensorsError], () => joinShards(indexPath, index, shards))
  })

const readIndex = (
  path: string,
  size: number,
  read: (offset: number, length: number) => Uint8Array
): Effect.Effect<string, SafetensorsError | FileError> =>
  size > LONGEST_INDEX
    ? Effect.fail(
        new SafetensorsError({
          message: `${path} has ${size} bytes; an index of shards has at most ${LONGEST_INDEX}. It is another kind of file.`,
          path
        })
      )
    : fromThrowing([FileError], () => new TextDecoder().decode(read(0, size)))
