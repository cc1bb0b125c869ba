/** Scales as they are: one f32 a block. */
import { addInto, Graph, makePart, ScaleCodec, type ScaleFormat } from "@graft/core"
import { Effect, Layer } from "effect"

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
    if (absmax === undefined || absmax.dtype !== "f32" || absmax.shape.reduce((a, b) => a * b, 1) !== count)
      return undefined
    const kept = scope.tensor([count], `${path}.absmax`, "f32", "weights")
    scope.queue.uploadSource(kept, { ...absmax, shape: [count] })
    return [kept]
  },
  at: ([absmax], index) => absmax![index]!
}

export const PlainScales: { readonly layer: Layer.Layer<ScaleCodec> } = {
  layer: Layer.effect(
    ScaleCodec,
    Effect.map(makePart("f32 scales"), (part) => ({ part, format: plainScales }))
  )
}
