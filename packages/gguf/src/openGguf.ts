/**
 * A GGUF by its path, whole or in parts as llama.cpp's gguf-split cuts it: NAME-00001-of-00003.gguf and so on. The first part
 * has the metadata, each has its own tensors, its number (split.no, from 0) and the count of parts (split.count). Any part's
 * path opens all.
 */
import { existsSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { type FileError, fromThrowing, openFile } from "@graft/safetensors"
import { Effect, type Scope } from "effect"
import { GgufError } from "./GgufError.ts"
import { type GgufFile, type GgufTensor, parseGguf } from "./parseGguf.ts"

/** llama.cpp writes the count in 16 bits; so many files are not opened at once. */
const MOST_PARTS = 999

export const openGguf = (path: string): Effect.Effect<GgufFile, FileError | GgufError, Scope.Scope> =>
  Effect.gen(function* () {
    const one = yield* openPart(path)
    const names = yield* fromThrowing<ReadonlyArray<string> | undefined, GgufError>([GgufError], () => partsOf(one))
    if (names === undefined) return one
    const parts: Array<GgufFile> = []
    for (const name of names) parts.push(name === path ? one : yield* openPart(name))
    return yield* fromThrowing<GgufFile, GgufError>([GgufError], () => joinParts(parts))
  })

const openPart = (path: string) =>
  Effect.flatMap(openFile(path), (source) => fromThrowing<GgufFile, GgufError>([GgufError], () => parseGguf(source)))

/** The paths of all parts of the model that `file` is one of; undefined where it is whole. */
const partsOf = ({ path, metadata }: GgufFile): ReadonlyArray<string> | undefined => {
  const fail = (message: string): never => {
    throw new GgufError({ message, path })
  }
  const count = metadata.get("split.count") ?? 1
  if (count === 0 || count === 1) return undefined
  if (typeof count !== "number" || count > MOST_PARTS)
    return fail(
      `${path} says that it is one of ${String(count)} parts; up to ${MOST_PARTS} are opened. Fetch it again.`
    )
  const [, stem, number, total] = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(basename(path)) ?? []
  if (stem === undefined || Number(total) !== count)
    return fail(
      `${path} is one of ${count} parts, and its name does not say which: NAME-00001-of-${five(count)}.gguf is wanted. Give the parts their names back, or join them (llama-gguf-split --merge).`
    )
  const no = metadata.get("split.no")
  if (no !== Number(number) - 1)
    return fail(`${path} is called part ${Number(number)}, and says that it is part ${Number(no) + 1}. Rename it.`)
  const names = Array.from({ length: count }, (_, i) =>
    join(dirname(path), `${stem}-${five(i + 1)}-of-${five(count)}.gguf`)
  ).map((name) => (basename(name) === basename(path) ? path : name))
  const missing = names.filter((name) => !existsSync(name)).map((name) => basename(name))
  if (missing.length > 0)
    return fail(
      `${path} is one of ${count} parts, and beside it ${missing.length === 1 ? "is" : "are"} missing ${missing.join(", ")}. Fetch ${missing.length === 1 ? "it" : "them"} into ${dirname(path)}.`
    )
  return names
}

const five = (n: number): string => String(n).padStart(5, "0")

/** The parts, in order, as one file. @throws GgufError */
export const joinParts = (parts: ReadonlyArray<GgufFile>): GgufFile => {
  const first = parts[0]!
  const tensors = new Map<string, GgufTensor>()
  for (const [i, part] of parts.entries()) {
    const fail = (what: string): never => {
      throw new GgufError({
        message: `${part.path}: ${what}. All parts must be of one model; fetch it again.`,
        path: part.path
      })
    }
    if (part.metadata.get("split.no") !== i || part.metadata.get("split.count") !== parts.length)
      fail(
        `it says that it is part ${Number(part.metadata.get("split.no")) + 1} of ${String(part.metadata.get("split.count"))}, and its name part ${i + 1} of ${parts.length}`
      )
    for (const [name, tensor] of part.tensors) {
      if (tensors.has(name)) fail(`the tensor ${name} is in ${tensors.get(name)!.path} too`)
      tensors.set(name, tensor)
    }
  }
  const wanted = first.metadata.get("split.tensors.count")
  if (wanted !== undefined && wanted !== tensors.size)
    throw new GgufError({
      message: `${first.path}: the parts hold ${tensors.size} tensors, and it says ${String(wanted)}. All parts must be of one model; fetch it again.`,
      path: first.path
    })
  return { ...first, tensors }
}
