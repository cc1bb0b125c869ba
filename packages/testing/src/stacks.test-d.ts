// Stacks that must not compile, each beside one that does. Checked by tsc; nothing here runs.
import {
  AdamW,
  type Adapter,
  type Backend,
  type BadOptions,
  type Codec,
  Dense,
  Kernels,
  linear,
  type ModelLoader,
  makePart,
  type Op,
  override,
  provide,
  Reference,
  ScaleCodec,
  type ScaleFormat,
  swiglu,
  type Tensor,
  type Trainer as TrainerService,
  WeightCodec
} from "@graft/core"
import { Trainer } from "@graft/trainer"
import { Effect, Layer } from "effect"
import { ToyAdapter } from "./toyAdapters.ts"
import { ToyDataset } from "./toyData.ts"
import { ToyLoader } from "./toyModel.ts"

declare const start: (layer: Layer.Layer<TrainerService, BadOptions>) => void
declare const codec: Codec
declare const format: ScaleFormat

/** A quantiser whose scales are somebody else's affair. */
const Quantised = {
  layer: Layer.effect(
    WeightCodec,
    Effect.gen(function* () {
      return { part: yield* makePart("quantised", yield* ScaleCodec), codec }
    })
  )
}
const Scales = {
  layer: Layer.effect(
    ScaleCodec,
    Effect.map(makePart("scales"), (part) => ({ part, format }))
  )
}
const Fused = { layer: Kernels.override("fused") }

const trainer = Trainer.layer({ steps: 1 })
const [reference, dense] = [Layer.provide(Reference.layer), Layer.provide(Dense.layer)]
const [quantised, scales] = [Layer.provide(Quantised.layer), Layer.provide(Scales.layer)]
const [data, optimizer] = [Layer.provide(ToyDataset.layer()), Layer.provide(AdamW.layer())]
const [adapter, loader] = [Layer.provide(ToyAdapter.layer()), Layer.provide(ToyLoader.layer())]
const [fused, trained] = [Layer.provide(Fused.layer), trainer.pipe(optimizer, data)]
const base = trained.pipe(adapter, loader)

start(base.pipe(dense, reference))
start(base.pipe(quantised, scales, fused, reference))
// @ts-expect-error no backend
start(base.pipe(dense))
// @ts-expect-error fused kernels are no backend
start(base.pipe(dense, fused))
// @ts-expect-error an adapter without a model
start(trained.pipe(adapter, dense, reference))
// @ts-expect-error a model without an adapter: full training has to be said too
start(trained.pipe(loader, dense, reference))
// @ts-expect-error no codec: dense has to be said
start(base.pipe(reference))
// @ts-expect-error a quantiser without a format of its scales
start(base.pipe(quantised, reference))
// @ts-expect-error the codec stands above the loader that needs it
start(trained.pipe(adapter, dense, loader, reference))
// @ts-expect-error the model stands above the adapter that needs it
start(trained.pipe(loader, adapter, dense, reference))
// @ts-expect-error no data
start(trainer.pipe(optimizer, adapter, loader, dense, reference))
// @ts-expect-error no optimizer
start(trainer.pipe(data, adapter, loader, dense, reference))
// @ts-expect-error steps have no default
Trainer.layer({ learningRate: 1e-4 })
// @ts-expect-error a schedule that is not there
Trainer.layer({ steps: 1, schedule: "square" })

// Layer.provide accepts what nobody needs, an error when the run starts; `provide` does not.
start(base.pipe(dense, scales, reference))
start(base.pipe(provide(Quantised.layer), provide(Scales.layer), provide(Fused.layer), provide(Reference.layer)))
// @ts-expect-error a format of scales, and dense weights have none
start(base.pipe(provide(Dense.layer), provide(Scales.layer), provide(Reference.layer)))
// @ts-expect-error the same, inside
base.pipe(provide(Dense.layer.pipe(provide(Scales.layer))))
// @ts-expect-error fused kernels below the backend, which satisfied everybody already
start(base.pipe(provide(Dense.layer), provide(Reference.layer), provide(Fused.layer), provide(Reference.layer)))

override(swiglu, {
  forward: (g, gate, up) => ({ out: g.tensor(gate.shape, up.name), saved: null }),
  backward: () => {}
})
override(linear, {
  // @ts-expect-error an override has the arguments of the op it replaces
  forward: (g, x, w: number) => ({ out: g.tensor(x.shape, `${w}`), saved: null }),
  backward: () => {}
})
override(swiglu, {
  // @ts-expect-error a forward says what backward will need
  forward: (g, gate) => ({ out: g.tensor(gate.shape, "out") }),
  backward: () => {}
})
declare const typed: Op<readonly [x: Tensor, rate: number]>
// @ts-expect-error an op is called with its own arguments
typed(null as never, null as never, "0.5")

// The layers' types say what they need and bring, and nothing else.
ToyAdapter.layer() satisfies Layer.Layer<Adapter, never, ModelLoader>
ToyLoader.layer() satisfies Layer.Layer<ModelLoader, never, WeightCodec>
Reference.layer satisfies Layer.Layer<Backend | Kernels>
