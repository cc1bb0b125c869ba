/**
 * The golden sets that tests compare with: the one beside the repository where it is there, and those that
 * GRAFT_GOLDEN names, folders of make.py's layout with a colon between.
 */
import { existsSync } from "node:fs"
import { basename, join } from "node:path"
import { widen } from "@graft/core"
import { integersOf, openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { root } from "./commandUnderTest.ts"

export interface GoldenSet {
  readonly name: string
  readonly at: (path: string) => string
}
export const goldenSets: ReadonlyArray<GoldenSet> = [
  join(root, "../shared/golden"),
  ...(process.env.GRAFT_GOLDEN ?? "").split(":").filter((path) => path !== "")
]
  .filter((folder) => existsSync(join(folder, "tiny-llama")))
  .map((folder) => ({ name: basename(folder), at: (path) => join(folder, path) }))

/** Every f32 tensor of a file by name. */
export const floatsOf = (path: string): Promise<ReadonlyMap<string, Float32Array>> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(
        openSafetensors(path),
        (file) =>
          new Map(
            [...file.tensors.values()].filter((t) => t.dtype === "F32").map((t) => [t.name, widen(t.read(), "f32")])
          )
      )
    )
  )
export interface Integers {
  readonly shape: ReadonlyArray<number>
  readonly values: ReadonlyArray<number>
}
export const integersIn = (path: string, name: string): Promise<Integers> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(openSafetensors(path), (file) => {
        const tensor = file.tensors.get(name)
        if (tensor === undefined) throw new Error(`${path} has no ${name}; there are ${file.names.join(", ")}`)
        return { shape: tensor.shape, values: integersOf(tensor) }
      })
    )
  )

/** max|a − b| / max|b| */
export const distance = (a: Float32Array, b: Float32Array): number => {
  if (a.length !== b.length) throw new RangeError(`${a.length} numbers against ${b.length}`)
  let apart = 0
  let top = 0
  for (let i = 0; i < b.length; i++) {
    // A NaN on either side must not pass.
    apart = Number.isNaN(a[i]! - b[i]!) ? Infinity : Math.max(apart, Math.abs(a[i]! - b[i]!))
    top = Math.max(top, Math.abs(b[i]!))
  }
  return apart / top
}
