import assert from "node:assert/strict"
import test from "node:test"
import {
  AdamW,
  Dense,
  denseCodec,
  oneArena,
  Reference,
  ReferenceQueue,
  sourceOf,
  Trainer as TrainerService
} from "@graft/core"
import { Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"
import { assertClose } from "../closeness.ts"
import { onReference } from "../onReference.ts"
import { randomValues } from "../tensorOf.ts"
import { runRecipe } from "../testSession.ts"
import { testWeight } from "../testWeight.ts"
import { ToyAdapter, toyLora } from "../toyAdapters.ts"
import { ToyDataset } from "../toyData.ts"
import { ToyLoader } from "../toyModel.ts"
import { toyRecipe } from "../toyRecipe.ts"
import { f32Scales, Int8, int8Codec, Scales, u8Scales } from "./int8Weight.ts"

const backend = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }
for (const [format, error] of [
  [f32Scales, 0.5 / 127 + 1e-6],
  [u8Scales, 0.5 / 127 + 0.5 / 255 + 1e-4]
] as const) {
  for (const source of ["f32", "bf16"] as const) {
    const rounding = source === "bf16" ? 2 ** -8 : 0
    testWeight("proof", backend, {
      name: `int8 with ${format.name} from ${source}`,
      codec: int8Codec(format),
      source,
      stores: ["i8", "u8"],
      error: error + rounding
    })
  }
}
test("int8 takes a quarter of f32, and 8-bit scales a quarter of theirs", () =>
  onReference(async (_, scope) => {
    const source = sourceOf("w", [64, 256], () => randomValues(64 * 256, 1))
    const bytes = [denseCodec(), int8Codec(f32Scales), int8Codec(u8Scales)].map(
      (codec) => codec.encode(source, scope, "w").bytes
    )
    assert.deepEqual(bytes, [65_536, 16_384 + 2048, 16_384 + 512 + 32])
  }))
test("a model over int8 trains as one over dense weights does, a little apart, with and without checkpoints", async () => {
  const dense = await runRecipe(backend, toyRecipe(), 12)
  for (const format of [f32Scales, u8Scales]) {
    const codec = int8Codec(format)
    const plain = await runRecipe(backend, toyRecipe({ codec }), 12)
    assertClose(plain.losses, dense.losses, 0.03, "int8 beside dense")
    assert.notDeepEqual(plain.losses, dense.losses)
    const again = await runRecipe(backend, toyRecipe({ codec, checkpointing: true }), 12)
    assert.deepEqual(again.losses, plain.losses)
  }
})
test("as services: a stack with int8 over either format runs, and its parts are named", async () => {
  for (const format of [f32Scales, u8Scales]) {
    const stack = Trainer.layer({ steps: 4, learningRate: 0.01 }).pipe(
      Layer.provide(AdamW.layer()),
      Layer.provide(ToyDataset.layer()),
      Layer.provide(ToyAdapter.layer(toyLora())),
      Layer.provide(ToyLoader.layer()),
      Layer.provide(Int8.layer),
      Layer.provide(Scales.layer(format)),
      Layer.provide(Reference.layer)
    )
    const events = await Effect.runPromise(
      TrainerService.use(({ run }) => Stream.runCollect(run)).pipe(Effect.provide(stack))
    )
    const [plan] = events
    assert.ok(plan?._tag === "Plan" && plan.parts.includes("int8 weights") && plan.parts.includes(format.name))
    assert.ok(events.at(-1)?._tag === "Done")
  }
})
test("a format of scales under dense weights is provided and not used", async () => {
  const stack = Trainer.layer({ steps: 1 }).pipe(
    Layer.provide(AdamW.layer()),
    Layer.provide(ToyDataset.layer()),
    Layer.provide(ToyAdapter.layer()),
    Layer.provide(ToyLoader.layer()),
    Layer.provide(Dense.layer.pipe(Layer.provide(Scales.layer(u8Scales)))),
    Layer.provide(Reference.layer)
  )
  const e = await Effect.runPromise(
    Effect.flip(TrainerService.use(({ run }) => Stream.runDrain(run)).pipe(Effect.provide(stack)))
  )
  assert.match(e.message, /provided but not used: u8 scales/)
})
