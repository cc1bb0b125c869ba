import assert from "node:assert/strict"
import test from "node:test"
import { Effect } from "effect"
import { gradientsOf, onReference } from "../../testing/src/onReference.ts"
import { randomTensor } from "../../testing/src/tensorOf.ts"
import { override } from "./Op.ts"
import { swiglu } from "./ops/gatedUnit.ts"
import { AdamW } from "./reference/adamW.ts"
import { Reference } from "./reference/Reference.ts"
import { Backend, Dense, Kernels, Optimizer, WeightCodec } from "./services.ts"

test("AdamW's options are decoded when its layer is built", async () => {
  const build = (options: object) =>
    Effect.runPromise(Effect.flip(Effect.provide(Optimizer, AdamW.layer(options as Parameters<typeof AdamW.layer>[0])))) // wrong on purpose
  assert.match((await build({ beta_1: 0.9 })).message, /AdamW: there is no option beta_1, did you mean beta1\?/)
  assert.match((await build({ beta1: 1, weightDecay: -1 })).message, /beta1.*weightDecay/s)
  const made = await Effect.runPromise(Effect.provide(Optimizer, AdamW.layer()))
  assert.equal(made.part.name, "AdamW")
})
test("the reference backend opens a queue and closes it with its scope", async () => {
  const queue = await Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const backend = yield* Backend
        const opened = yield* backend.open([4096])
        yield* Effect.promise(() => opened.idle())
        return opened
      })
    ).pipe(Effect.provide(Reference.layer))
  )
  assert.throws(() => queue.allocator && queue.allocate(1, "weights"), /closed/)
})
test("a layer puts its ops on top of the table below", () =>
  onReference(async (queue, scope) => {
    const log: Array<string> = []
    const layer = (name: string) =>
      Kernels.override(
        name,
        override(
          swiglu,
          {
            forward: (g, gate) => {
              log.push(name)
              const out = g.tensor(gate.shape, name)
              queue.upload(out, () => new Float32Array(out.size))
              return { out, saved: null }
            },
            backward: () => {}
          },
          name
        )
      )
    const { overrides, part } = await Effect.runPromise(
      Effect.provide(Kernels, layer("second")).pipe(Effect.provide(layer("first")), Effect.provide(Reference.layer))
    )
    assert.deepEqual(
      [...overrides.values()].map(({ op, implementation }) => [op, implementation]),
      [["swiglu", "second"]]
    )
    assert.deepEqual([part.name, part.uses[0]?.part.name], ["second", "first"])
    const x = randomTensor(scope, "x", [2], 1)
    await gradientsOf(queue, [x], (g) => swiglu(g, x, x), { overrides }).value
    assert.deepEqual(log, ["second"])
  }))
test("a dense codec says its name", async () => {
  for (const layer of [Dense.layer, Dense.layerOf("bf16")]) {
    const { codec } = await Effect.runPromise(Effect.provide(WeightCodec, layer))
    assert.equal(codec.name, "dense")
  }
})
