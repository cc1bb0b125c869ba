import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe, off } from "./maybe.ts"
import { backendFlags, model, skip } from "./modelFlags.ts"
import { positiveInt } from "./numbers.ts"
import { json } from "./outputFlags.ts"

export const quantizeFlags = {
  model,
  out: maybe(
    Flag.String("out").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("DIR"),
      Flag.withDescription("the folder to write; may be left out with --report")
    )
  ),
  quantize: Flag.Literals("quantize", ["nf4", "fp4"]).pipe(
    Flag.withDefault("nf4" as const),
    Flag.withDescription("nf4 is the better of the two (default nf4)")
  ),
  doubleQuant: Flag.Boolean("double-quant").pipe(
    Flag.withDefault(true),
    Flag.withDescription("scales in 8 bits: 4.13 bits a weight instead of 4.5 (on unless --no-double-quant)")
  ),
  blockSize: positiveInt("block-size").pipe(
    Flag.withDefault(64),
    Flag.withDescription("weights that share a scale: 32, 64, 128, … 4096 (default 64)")
  ),
  skip,
  dtype: maybe(
    Flag.Literals("dtype", ["f32", "bf16", "f16"]).pipe(
      Flag.withDescription("round all tensors to this first (default: as the source is; a GGUF's blocks come as f32)")
    )
  ),
  report: off(
    "report",
    "what 4 bits cost: errors of every weight under NF4, NF4 with double quantization and FP4, side by side"
  ),
  text: maybe(
    Flag.String("text").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("with --report: a text, on which the rise of the model's perplexity is measured")
    )
  ),
  maxLength: maybe(
    positiveInt("max-length").pipe(
      Flag.withDescription("tokens of a piece of the text (default 1024, or the model's positions)")
    )
  ),
  ...backendFlags,
  json
}
export type QuantizeInput = Command.Command.Config.Infer<typeof quantizeFlags>
