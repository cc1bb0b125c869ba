import type { Kernel } from "../Queue.ts"

/** norm [out] = √(‖W‖² + 2s·diag(B (AWᵀ)) + s²·‖BA‖²) by row, from w2 [out], b [out, r], aw = AWᵀ [r, out], aa = AAᵀ [r, r]. */
export const doraNormKernel: Kernel<{ readonly scale: number }> = {
  name: "doraNorm",
  outputs: 1,
  fields: ["scale"],
  dtypes: ["f32", "f32", "f32", "act", "f32"],
  reference: ([norm, w2, b, aw, aa], { scale }) => {
    const out = norm!.length
    const rank = b!.length / out
    for (let o = 0; o < out; o++) {
      let cross = 0
      let own = 0
      for (let i = 0; i < rank; i++) {
        cross += b![o * rank + i]! * aw![i * out + o]!
        for (let j = 0; j < rank; j++) own += b![o * rank + i]! * aa![i * rank + j]! * b![o * rank + j]!
      }
      norm![o] = Math.sqrt(Math.max(0, w2![o]! + 2 * scale * cross + scale * scale * own))
    }
  }
}
