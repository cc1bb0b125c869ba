/** A safetensors file of numbers that others computed. */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { widen } from "@graft/core"
import { memorySource, parseSafetensors } from "@graft/safetensors"

/** A path in the fixtures of this package. */
export const fixtureAt = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))

/** Its tensors by name, in f32; `names` lists them. */
export const readNumbers = (path: string) => {
  const file = parseSafetensors(memorySource(path, readFileSync(path)))
  const tensor = (name: string): Float32Array => {
    const known = file.get(name)
    if (known === undefined) throw new RangeError(`${path} has no ${name}`)
    return widen(known.read(), known.dtype)
  }
  return { tensor, names: file.names }
}
