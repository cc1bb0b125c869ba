/**
 * A model's weights as its GGUF has them: quantised blocks stay packed, and what the file keeps in f32, f16 or bf16 becomes
 * dense, in the file's dtype or another. Nothing is quantised anew.
 */
import { type Codec, denseCodec } from "@graft/core"
import { blockWeight, CODEC } from "./blockWeight.ts"

export const ggufCodec = (denseDtype: "source" | "f32" | "bf16" = "source"): Codec => {
  const dense = denseCodec(denseDtype)
  return {
    name: CODEC,
    encode: (source, scope, path) => blockWeight(source, scope, path) ?? dense.encode(source, scope, path),
    adopt: (file, path, scope) => {
      const source = file.get(`${path}.weight`)
      return source === undefined ? undefined : blockWeight(source, scope, path)
    }
  }
}
