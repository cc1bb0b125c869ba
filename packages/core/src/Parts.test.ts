import assert from "node:assert/strict"
import test from "node:test"
import { Context, Effect, Layer } from "effect"
import { type Inventory, makePart, type Part, partsOf } from "./Parts.ts"

class Base extends Context.Service<Base, Part>()("test/Base") {}
class Middle extends Context.Service<Middle, Part>()("test/Middle") {}
class Extra extends Context.Service<Extra, Part>()("test/Extra") {}
class Top extends Context.Service<Top, Part & { readonly inventory: () => Inventory }>()("test/Top") {}

const base = Layer.effect(
  Base,
  Effect.map(makePart("base"), (part) => ({ part }))
)
const extra = Layer.effect(
  Extra,
  Effect.map(makePart("extra"), (part) => ({ part }))
)
const middle = Layer.effect(
  Middle,
  Effect.gen(function* () {
    return { part: yield* makePart("middle", yield* Base) }
  })
)
const top = Layer.effect(
  Top,
  Effect.gen(function* () {
    const part = yield* makePart("top", yield* Middle)
    return { part, inventory: yield* partsOf(part) }
  })
)
const inventory = (layer: Layer.Layer<Top>) =>
  Effect.runPromise(
    Effect.provide(
      Top.use((t) => Effect.sync(t.inventory)),
      layer
    )
  )

test("what the top reaches is in use", async () => {
  assert.deepEqual(await inventory(top.pipe(Layer.provide(middle), Layer.provide(base))), {
    inUse: ["top", "middle", "base"],
    unused: []
  })
})
test("what is provided and reached by nobody is unused, wherever it stands", async () => {
  const stacks = [
    top.pipe(Layer.provide(middle), Layer.provide(base), Layer.provide(extra)),
    top.pipe(Layer.provide(Layer.merge(middle, extra)), Layer.provide(base)),
    top.pipe(Layer.provide(middle.pipe(Layer.provide(extra))), Layer.provide(base))
  ]
  for (const stack of stacks) assert.deepEqual((await inventory(stack)).unused, ["extra"])
})
test("two builds do not see each other's parts", async () => {
  const whole = top.pipe(Layer.provide(middle), Layer.provide(base))
  const both = await Promise.all([inventory(whole), inventory(whole.pipe(Layer.provide(extra))), inventory(whole)])
  assert.deepEqual(
    both.map(({ unused }) => unused),
    [[], ["extra"], []]
  )
})
