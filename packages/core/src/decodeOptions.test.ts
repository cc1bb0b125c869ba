import assert from "node:assert/strict"
import test from "node:test"
import { Effect, Exit, Schema } from "effect"
import { decodeOptions, Fraction, NonNegative, NonNegativeInt, PositiveInt, withDefault } from "./decodeOptions.ts"
import type { BadOptions } from "./errors.ts"

const decode = decodeOptions(
  "sample",
  Schema.Struct({
    steps: PositiveInt,
    rate: withDefault(NonNegative, 0.5),
    warmup: withDefault(NonNegativeInt, 0),
    dropout: withDefault(Fraction, 0),
    kind: withDefault(Schema.Literals(["linear", "cosine"]), "linear")
  })
)
const problems = (options: unknown): BadOptions => Effect.runSync(Effect.flip(decode(options)))

test("options are decoded with their defaults", () => {
  assert.deepEqual(Effect.runSync(decode({ steps: 3, kind: "cosine" })), {
    steps: 3,
    rate: 0.5,
    warmup: 0,
    dropout: 0,
    kind: "cosine"
  })
})
test("every problem is told at once, in words", () => {
  const e = problems({ steps: 0, rate: -1, warmup: 1.5, dropout: 1, kind: "square" })
  assert.equal(e._tag, "BadOptions")
  assert.match(e.message, /^sample: /)
  for (const word of ["steps", "rate", "warmup", "dropout", "kind", "positive integer", "at least 0"])
    assert.ok(e.message.includes(word), `${word} in ${e.message}`)
})
test("a misspelt key is refused by the nearest name, also beside other problems", () => {
  assert.match(problems({ steps: 1, warm_up: 3 }).message, /no option warm_up, did you mean warmup\?/)
  assert.match(
    problems({ steps: 1, colour: 3 }).message,
    /no option colour; there are steps, rate, warmup, dropout, kind/
  )
  const both = problems({ stesp: 1, rate: NaN }).message
  assert.match(both, /did you mean steps\?/)
  assert.match(both, /rate/)
})
test("what is no object is refused", () => {
  for (const options of [undefined, null, 3, "steps", []])
    assert.ok(Exit.isFailure(Effect.runSyncExit(decode(options))))
})
test("numbers that are not finite are refused", () => {
  for (const rate of [NaN, Infinity, "1"]) assert.match(problems({ steps: 1, rate }).message, /rate/)
})
