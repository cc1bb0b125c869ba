import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe, off } from "./maybe.ts"
import { backendFlags } from "./modelFlags.ts"
import { nonNegativeInt, positive, positiveInt } from "./numbers.ts"
import { json } from "./outputFlags.ts"

export const synthFlags = {
  config: Flag.String("config").pipe(
    Flag.withAlias("c"),
    Flag.withMetavar("NAME|FILE"),
    Flag.withDefault("llama-2-7b"),
    Flag.withDescription(
      "a model that is known by name, as llama-2-7b, llama-3.1-8b, mistral-7b-v0.1, qwen2.5-7b, qwen3-8b, smollm3-3b, phi-3-mini-4k, gemma-2-9b, gemma-3-1b, or a config.json (default llama-2-7b)"
    )
  ),
  out: Flag.String("out").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("DIR"),
    Flag.withDescription("the folder to write: weights, config.json, a made-up tokenizer")
  ),
  layers: maybe(positiveInt("layers").pipe(Flag.withDescription("fewer layers than the config's"))),
  dtype: maybe(
    Flag.Literals("dtype", ["f32", "bf16", "f16"]).pipe(
      Flag.withDescription("of the weights (default: the config's torch_dtype)")
    )
  ),
  seed: nonNegativeInt("seed").pipe(Flag.withDefault(0), Flag.withDescription("of the weights (default 0)")),
  shardSize: positive("shard-size").pipe(
    Flag.withDefault(10),
    Flag.withDescription("gigabytes of a file at most, as transformers cuts them (default 10)")
  ),
  quantize: maybe(
    Flag.Literals("quantize", ["nf4", "fp4"]).pipe(
      Flag.withDescription("write the linears in 4 bits; the 16-bit weights never lie on the disk")
    )
  ),
  doubleQuant: Flag.Boolean("double-quant").pipe(
    Flag.withDefault(true),
    Flag.withDescription("with --quantize: scales in 8 bits (on unless --no-double-quant)")
  ),
  blockSize: positiveInt("block-size").pipe(
    Flag.withDefault(64),
    Flag.withDescription("with --quantize: weights that share a scale (default 64)")
  ),
  force: off("force", "write into a folder that holds a model already"),
  ...backendFlags,
  json
}
export type SynthInput = Command.Command.Config.Infer<typeof synthFlags>
