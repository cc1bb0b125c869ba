/** Scales as they are: one f32 a block. */
import { addInto, Graph, makePart, ScaleCodec, type ScaleFormat, sizeOf } from "@graft/core"
import { Effect, Layer } from "effect"
import { FourBitError } from "./FourBitError.ts"

export const plainScales: ScaleFormat = {
  name: "f32",
  storageCount: 1,
  encode: (scales, scope, path) => {
    using g = new Graph(scope.queue)
    const kept = scope.tensor(scales.shape, `${path}.absmax`, "f32", "weights")
    addInto(g, kept, scales)
    return [kept]
  },
  adopt: (file, path, count, scope) => {
    const absmax = file.get(`${path}.absmax`)
    if (file.get(`${path}.nested_absmax`) !== undefined) return undefined
    if (absmax?.dtype !== "f32" || sizeOf(absmax.shape) !== count) {
      const found = absmax === undefined ? "missing" : `${absmax.dtype} [${absmax.shape}]`
      throw new FourBitError({ path: `${path}.absmax`, problem: `is ${found}, wanted f32 [${count}]` })
    }
    const kept = scope.tensor([count], `${path}.absmax`, "f32", "weights")
    scope.queue.uploadSource(kept, { ...absmax, shape: [count] })
    return [kept]
  },
  save: ([absmax], path) => [
    [{ name: `${path}.absmax`, dtype: "f32", shape: [absmax!.byteLength / 4], read: () => absmax! }],
    {}
  ],
  at: ([absmax], index) => absmax![index]!
}

export const PlainScales: { readonly layer: Layer.Layer<ScaleCodec> } = {
  layer: Layer.effect(
    ScaleCodec,
    Effect.map(makePart("f32 scales"), (part) => ({ part, format: plainScales }))
  )
}
