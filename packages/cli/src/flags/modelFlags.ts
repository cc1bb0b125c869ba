/** Which model, with which adapter, on which device. */
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { byteSize } from "./byteSize.ts"
import { maybe, off } from "./maybe.ts"
import { positiveInt } from "./numbers.ts"

export const model = Flag.String("model").pipe(
  Flag.withAlias("m"),
  Flag.withMetavar("PATH"),
  Flag.withDescription(
    "a Hugging Face folder (config.json, *.safetensors), a .gguf file, or a model of the Hub: org/name[@revision][:file.gguf]"
  )
)
export const adapter = maybe(
  Flag.String("adapter").pipe(
    Flag.withMetavar("DIR"),
    Flag.withDescription("an adapter folder of PEFT's format, as `graft train` writes it")
  )
)
export const backendFlags = {
  backend: Flag.Literals("backend", ["cpu", "tfjs", "reference"]).pipe(
    Flag.withDefault("cpu" as const),
    Flag.withDescription(
      "cpu: native kernels; tfjs: the best TensorFlow.js package that is installed, CUDA by tfjs-node-gpu; reference: slow TypeScript that runs anywhere (default cpu)"
    )
  ),
  threads: maybe(
    positiveInt("threads").pipe(Flag.withDescription("worker threads (default: the cores this process may use)"))
  ),
  isa: maybe(
    Flag.String("isa").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription("a lower instruction set than the machine's best; `graft doctor` lists them")
    )
  ),
  fused: Flag.String("fused").pipe(
    Flag.withMetavar("OPS"),
    Flag.withDefault("on"),
    Flag.withDescription("fused ops: on, off, or names with commas; results are equal but for rounding (default on)")
  ),
  compute: maybe(
    Flag.Literals("compute", ["f32", "bf16"]).pipe(
      Flag.withDescription("numbers to multiply in (default: bf16 where the machine multiplies it, else f32)")
    )
  )
}
type BackendValues = Command.Command.Config.Infer<typeof backendFlags>
/** `fused` left out: on. */
export type BackendInput = Omit<BackendValues, "fused"> & { readonly fused?: BackendValues["fused"] }

export const skip = maybe(
  Flag.String("skip").pipe(
    Flag.withMetavar("NAMES"),
    Flag.withDescription("linears that stay unquantised, by name or suffix, with commas")
  )
)
/** How the frozen weights of the layers' linears are kept. A checkpoint that is quantised already needs none of these. */
export const storageFlags = {
  weights: maybe(
    Flag.Literals("weights", ["packed", "dense"]).pipe(
      Flag.withDescription("of a GGUF: its quantised blocks packed as the file has them, or as floats (default packed)")
    )
  ),
  quantize: maybe(
    Flag.Literals("quantize", ["nf4", "fp4"]).pipe(
      Flag.withDescription(
        "frozen linears in 4 bits while loading (QLoRA, arXiv:2305.14314); nf4 is the better of the two"
      )
    )
  ),
  doubleQuant: off("double-quant", "their scales in 8 bits: 4.13 bits a weight instead of 4.5"),
  blockSize: maybe(
    positiveInt("block-size").pipe(Flag.withDescription("weights that share a scale: 32, 64, 128, … 4096 (default 64)"))
  ),
  skip,
  prepared: maybe(
    Flag.String("prepared").pipe(
      Flag.withMetavar("DIR"),
      Flag.withDescription(
        "where dense weights that --quantize makes smaller are kept for the next start, or off (default: the cache folder, from 1 GB of dense weights on)"
      )
    )
  ),
  rowScales: maybe(
    Flag.Literals("row-scales", ["flat", "bitsandbytes-avx512"]).pipe(
      Flag.withDescription(
        "which scale an element has where rows hold no whole blocks: flat, as the format says, or as bitsandbytes 0.50 reads it on AVX-512 machines (default flat)"
      )
    )
  ),
  weightsMemory: maybe(
    byteSize("weights-memory").pipe(
      Flag.withMetavar("SIZE"),
      Flag.withDescription(
        "the most memory for frozen weights, e.g. 2.5GB; layers over it stream from the model's files, as `graft quantize` writes them (default: all in memory)"
      )
    )
  )
}
export type StorageInput = Command.Command.Config.Infer<typeof storageFlags>
/** As the model's files have them. */
export const asStored: StorageInput = {
  weights: undefined,
  quantize: undefined,
  doubleQuant: false,
  blockSize: undefined,
  skip: undefined,
  prepared: undefined,
  rowScales: undefined,
  weightsMemory: undefined
}
