// Stacks with 4-bit weights that must not compile, each beside one that does. Checked by tsc; nothing here runs.
import {
  type Adapter,
  type BadOptions,
  Dense,
  type ModelLoader,
  provide,
  type Scope,
  type Tensor,
  type WeightCodec
} from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { FullTraining, LlamaLoader, type OpenedModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Fp4, fourBitCodec, Nf4, nf4, PlainScales, plainScales } from "@graft/nf4-quant"
import { Layer } from "effect"

declare const model: OpenedModel
declare const built: <E>(layer: Layer.Layer<ModelLoader, E>) => void
declare const trained: <E>(layer: Layer.Layer<Adapter, E>) => void
declare const codec: (layer: Layer.Layer<WeightCodec, BadOptions>) => void

const loader = LlamaLoader.layerOf(model)
built(loader.pipe(provide(Dense.layer)))
built(loader.pipe(provide(Nf4.layer), provide(PlainScales.layer)))
built(loader.pipe(provide(Nf4.layer), provide(DoubleQuant.layer)))
built(loader.pipe(provide(Fp4.layerOf({ blockSize: 128 })), provide(DoubleQuant.layer)))
// @ts-expect-error 4 bits, and nobody says how the scales are kept
built(loader.pipe(provide(Nf4.layer)))
// @ts-expect-error double quantization without a 4-bit codec: dense weights have no scales
built(loader.pipe(provide(Dense.layer), provide(DoubleQuant.layer)))
// @ts-expect-error double quantization is no codec of weights
built(loader.pipe(provide(DoubleQuant.layer)))
// @ts-expect-error two formats of scales: the second is for nobody
built(loader.pipe(provide(Nf4.layer), provide(DoubleQuant.layer), provide(PlainScales.layer)))
// @ts-expect-error the format stands above the codec that needs it
built(loader.pipe(provide(DoubleQuant.layer), provide(Nf4.layer)))

// What is trained is dense: a codec over a weight that is being trained does not compile.
const full = FullTraining.layer().pipe(provide(loader))
trained(full.pipe(provide(Dense.layer)))
trained(full.pipe(provide(Dense.layerOf("f32"))))
// @ts-expect-error full training over NF4
trained(full.pipe(provide(Nf4.layer), provide(PlainScales.layer)))
// @ts-expect-error full training over FP4 with double quantization
trained(full.pipe(provide(Fp4.layer), provide(DoubleQuant.layer)))
declare const matrix: Tensor
declare const scope: Scope
// @ts-expect-error a codec stores what lies outside, and a trained matrix is a tensor of the device
fourBitCodec(nf4, plainScales, 64).encode(matrix, scope, "w")
trained(Lora.layer({ rank: 8 }).pipe(provide(loader), provide(Nf4.layer), provide(DoubleQuant.layer)))

codec(Nf4.layer.pipe(Layer.provide(DoubleQuant.layer)))
// @ts-expect-error a block size that bitsandbytes does not know
Nf4.layerOf({ blockSize: 48 })
// @ts-expect-error a rule that nobody follows
Fp4.layerOf({ rowScales: "columns" })
